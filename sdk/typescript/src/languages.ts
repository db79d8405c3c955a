// How code of a language becomes a command.

export type Language =
  | "python"
  | "javascript"
  | "sh"
  | "bash"
  | "ruby"
  | "perl"
  | "php";

const COMMANDS: Record<Language, string[]> = {
  python: ["python3", "-c"],
  javascript: ["node", "-e"],
  sh: ["sh", "-c"],
  bash: ["bash", "-c"],
  ruby: ["ruby", "-e"],
  perl: ["perl", "-e"],
  php: ["php", "-r"],
};

const IMAGES: Record<string, Language> = {
  node: "javascript",
  ruby: "ruby",
  perl: "perl",
  php: "php",
  bash: "bash",
  alpine: "sh",
  busybox: "sh",
};

// Linux takes arguments of up to 128 KiB.
const LONGEST = 120 * 1024;

/** The language that an image is for: by the last part of its name. */
export function languageOf(image: string): Language {
  const name = image.split("/").at(-1)?.split(/[@:]/)[0] ?? "";
  return IMAGES[name] ?? "python";
}

/** The command that runs code. */
export function commandFor(language: Language, code: string): string[] {
  const start = COMMANDS[language] as string[] | undefined;
  if (start === undefined) {
    throw new TypeError(`no such language: ${language}; known are ${Object.keys(COMMANDS).join(", ")}`);
  }
  if (Buffer.byteLength(code) > LONGEST) {
    throw new RangeError("the code is too long for an argument: write it to a file and run that");
  }
  return [...start, code];
}
