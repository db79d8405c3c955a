//! Keys of a Compose service that are not translated, and why.

/// Keys without effect on a virtual machine of its own, about which nobody needs to be told.
pub(super) const HARMLESS: [&str; 8] = [
    "annotations",
    "attach",
    "expose",
    "logging",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "pull_refresh_after",
];

/// Keys without effect, of which the user is told.
pub(super) const IGNORED: [(&str, &str); 24] = [
    ("blkio_config", "disk bandwidth is not limited"),
    ("cap_add", "the guest is a virtual machine, and its root has every capability in it"),
    ("cap_drop", "the guest is a virtual machine: capabilities do not reach the host"),
    ("cgroup", "the guest has a kernel and control groups of its own"),
    ("cgroup_parent", "the guest has a kernel and control groups of its own"),
    ("cpu_percent", "set `cpus`"),
    ("cpu_period", "set `cpus`"),
    ("cpu_quota", "set `cpus`"),
    ("cpu_rt_period", "set `cpus`"),
    ("cpu_rt_runtime", "set `cpus`"),
    ("cpu_shares", "CPUs are not weighted"),
    ("cpuset", "CPUs are not pinned"),
    ("dns_opt", "the resolver's options are the image's"),
    ("group_add", "the groups of the user are the image's"),
    ("isolation", "every service is a virtual machine"),
    ("oom_kill_disable", "the guest has memory of its own"),
    ("oom_score_adj", "the guest has memory of its own"),
    ("privileged", "the guest is a virtual machine, and its root has every capability in it"),
    ("runtime", "every service is a virtual machine"),
    ("security_opt", "the guest is a virtual machine with a kernel of its own"),
    ("userns_mode", "the guest has a kernel of its own"),
    ("uts", "the guest has a kernel of its own"),
    ("ipc", "the guest has a kernel of its own"),
    ("pid", "the guest has a kernel of its own"),
];

/// Keys that would be missed.
pub(super) const REFUSED: [(&str, &str); 17] = [
    ("build", "images are not built yet: build it with another tool, load it, and name it with `image`"),
    ("credential_spec", "there are no Windows guests"),
    ("device_cgroup_rules", "devices of the host are not passed on"),
    ("devices", "devices of the host are not passed on"),
    ("external_links", "containers outside of the project are not reached"),
    ("gpus", "devices of the host are not passed on"),
    ("label_file", "write the labels under `labels`"),
    ("mac_address", "the address of the network card is monocore's"),
    ("models", "AI models are not provided"),
    ("post_start", "hooks are not run"),
    ("pre_stop", "hooks are not run"),
    ("provider", "services of providers are not run"),
    ("sysctls", "kernel parameters of the guest cannot be set"),
    ("use_api_socket", "there is no Docker socket"),
    ("volumes_from", "name the volumes under `volumes`"),
    ("cpu_count", "set `cpus`"),
    ("credentials", "log in with `monocore login`"),
];
