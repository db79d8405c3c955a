//! Bad configurations, each with every error it must give. `bad.txt` has them: `#### TITLE`, then `=== FILE` and its
//! text for each file, then `>>>` and the errors, one a line. The files before the first `===+ FILE` are named on the
//! command line, `===+` marks those that are only there.

use std::path::{Path, PathBuf};

use super::*;

pub(super) struct Case {
    pub(super) title: String,
    named: Vec<String>,
    files: Vec<(String, String)>,
    pub(super) expected: Vec<String>,
}

pub(super) fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in text.split("#### ").skip(1) {
        let (title, rest) = part.split_once('\n').expect("a title");
        let (files, expected) = rest.split_once("\n>>>\n").unwrap_or((rest, ""));
        let mut case = Case {
            title: title.to_owned(),
            named: Vec::new(),
            files: Vec::new(),
            expected: expected.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        };
        for file in files.split("===").skip(1) {
            let (name, text) = file.split_once('\n').expect("a file's name");
            let only_there = name.starts_with('+');
            let name = name.trim_start_matches('+').trim();
            if !only_there {
                case.named.push(name.to_owned());
            }
            case.files.push((name.to_owned(), format!("{}\n", text.trim_end_matches('\n'))));
        }
        cases.push(case);
    }
    cases
}

impl Case {
    /// What loading the files gives; the directory they are in is cut off the errors.
    pub(super) fn load(&self) -> (PathBuf, Result<Project, Vec<String>>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let options = LoadOptions {
            files: self.named.iter().map(|name| dir.path().join(name)).collect(),
            project_name: Some("demo".into()),
            ..LoadOptions::default()
        };
        let prefix = format!("{}/", dir.path().display());
        let plain = |errors: ConfigErrors| {
            let all = errors.to_string().replace(&prefix, "");
            all.lines().map(str::to_owned).collect()
        };
        (dir.path().to_path_buf(), load(&options).map_err(plain))
    }
}

#[test]
fn every_bad_configuration_gives_its_errors() {
    let mut wrong = String::new();
    let cases = cases(include_str!("bad.txt"));
    assert!(cases.len() >= 100, "{} cases", cases.len());
    for case in &cases {
        let found = case.load().1.err().unwrap_or_default();
        if found != case.expected || found.is_empty() {
            wrong.push_str(&format!("#### {}\n{}\n", case.title, found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "these differ:\n{wrong}");
}

#[test]
fn every_error_has_a_file_of_the_project() {
    for case in cases(include_str!("bad.txt")) {
        let found = case.load().1.err().unwrap_or_default();
        for error in found {
            let file = error.split(':').next().unwrap_or_default();
            assert!(
                case.files.iter().any(|(name, _)| Path::new(name) == Path::new(file)),
                "{}: {error}",
                case.title
            );
        }
    }
}
