//! The commands that are disturbed.

/// A command that changes what is kept.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// What is done before it.
    pub(crate) before: &'static [&'static [&'static str]],
    pub(crate) command: &'static [&'static str],
    /// What shows whether it was done.
    pub(crate) seen: &'static [&'static [&'static str]],
    /// What takes everything back, whether it was done or not.
    pub(crate) clear: &'static [&'static [&'static str]],
}

/// Every command.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        before: &[],
        command: &["create", "--name", "a", "-e", "X=1", "test/plain:latest", "true"],
        seen: SANDBOXES,
        clear: &[&["rm", "-f", "a"]],
    },
    Verb {
        name: "rm",
        before: &[&["create", "--name", "a", "test/plain:latest"]],
        command: &["rm", "a"],
        seen: SANDBOXES,
        clear: &[&["rm", "-f", "a"]],
    },
    Verb {
        name: "rename",
        before: &[&["create", "--name", "a", "test/plain:latest"]],
        command: &["rename", "a", "b"],
        seen: SANDBOXES,
        clear: &[&["rm", "-f", "a", "b"]],
    },
    Verb {
        name: "update",
        before: &[&["create", "--name", "a", "-m", "128m", "test/plain:latest"]],
        command: &["update", "-m", "256m", "a"],
        seen: &[&["inspect", "--format", "{{.HostConfig.Memory}}", "a"]],
        clear: &[&["rm", "-f", "a"]],
    },
    Verb {
        name: "volume-create",
        before: &[],
        command: &["volume", "create", "v"],
        seen: &[&["volume", "ls", "-q"]],
        clear: &[&["volume", "rm", "-f", "v"]],
    },
    Verb {
        name: "volume-rm",
        before: &[&["volume", "create", "v"]],
        command: &["volume", "rm", "v"],
        seen: &[&["volume", "ls", "-q"]],
        clear: &[&["volume", "rm", "-f", "v"]],
    },
    Verb {
        name: "network-create",
        before: &[],
        command: &["network", "create", "n"],
        seen: &[&["network", "ls", "-q"]],
        clear: &[&["network", "rm", "-f", "n"]],
    },
    Verb {
        name: "network-rm",
        before: &[&["network", "create", "n"]],
        command: &["network", "rm", "n"],
        seen: &[&["network", "ls", "-q"]],
        clear: &[&["network", "rm", "-f", "n"]],
    },
];

/// Names and states of all sandboxes.
const SANDBOXES: &[&[&str]] = &[&["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Image}}"]];
