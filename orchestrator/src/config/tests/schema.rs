//! The schema knows every key that is written.

use super::*;

/// A project in which every key is set.
const FULL: &str = r#"
        name = "demo"
        [[service]]
        name = "web"
        base = "a"
        group = ["g"]
        entrypoint = ["/bin/web"]
        args = ["-v"]
        cpus = 1.5
        pids_limit = 50
        ram = 256
        workdir = "/w"
        user = "nobody"
        ports = ["8080:80"]
        volumes = ["/a:/b"]
        mounts = ["type=volume,target=/c"]
        tmpfs = ["/t"]
        envs = ["A=1"]
        env_file = ["a.env"]
        depends_on = { db = "healthy" }
        group_envs = ["e"]
        group_volumes = [{ name = "v", path = "/v" }]
        restart = "always"
        profiles = ["p"]
        hostname = "h"
        extra_hosts = ["x:1.2.3.4"]
        dns = ["1.1.1.1"]
        dns_search = ["local"]
        aliases = ["www"]
        links = ["db:database"]
        container_name = "box"
        read_only = true
        root_disk = "1g"
        stop_signal = "INT"
        stop_grace_period = "3s"
        timeout = "1m"
        idle_timeout = 30
        max_duration = "1h"
        ulimits = ["nofile=10"]
        shm_size = "1m"
        init = true
        tty = true
        stdin_open = true
        replicas = 1
        pull_policy = "never"
        platform = "linux/amd64"
        healthcheck = { test = "x", interval = "1s", timeout = "1s", retries = 1, start_period = "1s", start_interval = "1s" }
        network = { mode = "tsi", reach = "any", allow = ["a.b"], deny = ["c.d"] }
        scripts = { start = "true" }
        watch = { path = "a", target = "/a", ignore = ["b"], include = ["c"], initial_sync = true }
        labels = { a = "b" }
        secrets = ["s"]
        [[service]]
        name = "db"
        base = "b"
        group = "g"
        command = "/bin/db"
        [[group]]
        name = "g"
        local_only = false
        internal = true
        external = true
        group_name = "shared"
        volume = [{ name = "v", path = "/data" }]
        env = [{ name = "e", envs = ["B=2"] }]
        [[volume]]
        name = "v"
        volume_name = "w"
        external = true
        [[secret]]
        name = "s"
        file = "./s"
    "#;

/// The model of [`FULL`].
pub(super) fn full() -> Monocore {
    Monocore::parse("monocore.toml".as_ref(), FULL, &Default::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn keys(value: &serde_json::Value) -> Vec<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn every_written_key_is_in_the_schema() {
    let schema = json_schema();
    let config = serde_json::to_value(full()).unwrap();
    for (written, known) in [
        (&config, &schema),
        (&config["service"][0], &schema["$defs"]["Service"]),
        (&config["service"][1], &schema["$defs"]["Service"]),
        (&config["service"][0]["healthcheck"], &schema["$defs"]["Healthcheck"]),
        (&config["service"][0]["network"], &schema["$defs"]["NetworkConfig"]),
        (&config["service"][0]["depends_on"]["db"], &schema["$defs"]["DependsOn"]),
        (&config["service"][0]["watch"][0], &schema["$defs"]["WatchRule"]),
        (&config["group"][0], &schema["$defs"]["Group"]),
        (&config["volume"][0], &schema["$defs"]["NamedVolume"]),
        (&config["secret"][0], &schema["$defs"]["Secret"]),
    ] {
        let known = keys(&known["properties"]);
        for key in keys(written) {
            assert!(known.contains(&key), "{key} is not among {known:?}");
        }
    }
    // And every key of a service that is in the schema is one that is written, or another spelling.
    let mut written = keys(&config["service"][0]);
    written.extend(["command", "port", "extends"].map(str::to_owned));
    for key in keys(&schema["$defs"]["Service"]["properties"]) {
        assert!(written.contains(&key), "{key}");
    }
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(all) => {
                found.extend(all.get("$ref").and_then(|value| value.as_str()).map(str::to_owned));
                all.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(all) => all.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let schema = json_schema();
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let name = reference.strip_prefix("#/$defs/").unwrap_or_default();
        assert!(schema["$defs"].get(name).is_some(), "{reference}");
    }
}
