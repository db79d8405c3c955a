//! Configurations of projects.

use std::collections::BTreeMap;
use std::path::Path;

use monocore_orchestrator::config::{Monocore, Project};

/// Whatever the text is, it is a project or an error; a project is written and read again, and each of its services has
/// a sandbox.
///
/// # Panics
/// One of these does not hold.
pub fn check(file: &str, text: &str) {
    let environment = BTreeMap::from([("A".to_owned(), "a".to_owned()), ("E".to_owned(), String::new())]);
    let config = match Monocore::parse(Path::new(file), text, &environment) {
        Ok(config) => config,
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            return;
        }
    };
    let written = config.to_toml();
    let again = Monocore::parse(Path::new("monocore.toml"), &written, &BTreeMap::new());
    assert_eq!(again.as_ref(), Ok(&config), "{written}");
    let levels = config.start_order();
    assert_eq!(levels.iter().map(Vec::len).sum::<usize>(), config.services.len());
    let project = Project::new("fuzz", "/nonexistent", config).expect("a name");
    for service in &project.config.services {
        // Environment files are not there.
        if service.env_files.is_empty() {
            service.sandbox_spec(&project).expect("a valid service has a sandbox");
        }
    }
}

/// A text as YAML and JSON quote it.
///
/// # Panics
/// Never: every text is a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text")
}
