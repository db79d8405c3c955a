//! The options of the guest's kernel that container tools ask for.

use monocore_tests::world::World;

/// moby's `contrib/check-config.sh`, generally necessary and optional. Left out: SELinux and AppArmor (the machine is
/// the boundary), btrfs, and what cgroup v2 has no use for.
const MOBY: &str = "NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER \
    CGROUP_SCHED CPUSETS MEMCG KEYS VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER IP_NF_MANGLE IP_NF_TARGET_MASQUERADE \
    IP6_NF_FILTER IP6_NF_MANGLE IP6_NF_TARGET_MASQUERADE NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK \
    NETFILTER_XT_MATCH_IPVS NETFILTER_XT_MARK IP_NF_RAW IP_NF_NAT NF_NAT IP6_NF_RAW IP6_NF_NAT POSIX_MQUEUE CGROUP_BPF \
    USER_NS SECCOMP SECCOMP_FILTER CGROUP_PIDS BLK_CGROUP BLK_DEV_THROTTLING CGROUP_PERF CGROUP_HUGETLB NET_CLS_CGROUP \
    CGROUP_NET_PRIO CFS_BANDWIDTH FAIR_GROUP_SCHED NETFILTER_XT_TARGET_REDIRECT IP_VS IP_VS_NFCT IP_VS_PROTO_TCP \
    IP_VS_PROTO_UDP IP_VS_RR EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY VXLAN BRIDGE_VLAN_FILTERING CRYPTO CRYPTO_AEAD \
    CRYPTO_GCM CRYPTO_GHASH XFRM XFRM_USER XFRM_ALGO NETFILTER_XT_MATCH_BPF IPVLAN MACVLAN DUMMY NF_NAT_FTP \
    NF_CONNTRACK_FTP NF_NAT_TFTP NF_CONNTRACK_TFTP OVERLAY_FS";

/// What k3s's `check-config` and kube-proxy ask for beside these.
const KUBERNETES: &str = "NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_STATISTIC \
    NETFILTER_XT_MATCH_RECENT NETFILTER_XT_MATCH_NFACCT IP_NF_TARGET_REJECT IP_SET IP_SET_HASH_IP IP_SET_HASH_IPPORT \
    IP_SET_HASH_NET NETFILTER_XT_SET IP_VS_WRR IP_VS_SH NF_TABLES NFT_NUMGEN NFT_MASQ NFT_FIB_IPV4 NFT_FIB_IPV6 \
    NF_FLOW_TABLE NFT_QUEUE NFT_TPROXY";

/// What programs that make images and networks ask for.
const MORE: &str = "BLK_DEV_LOOP SQUASHFS SQUASHFS_XZ SQUASHFS_ZSTD ISO9660_FS JOLIET WIREGUARD ZRAM AUTOFS_FS BINFMT_MISC \
    CRYPTO_USER_API_HASH CRYPTO_HMAC FANOTIFY FHANDLE TUN IKCONFIG_PROC";

#[test]
fn the_kernel_has_what_container_tools_ask_for() {
    let told = World::get().script(&[], "busybox zcat /proc/config.gz; cat /proc/filesystems");
    let lines: Vec<&str> = told.out().lines().collect();
    let wanted = [MOBY, KUBERNETES, MORE].map(str::split_whitespace).into_iter().flatten();
    let missing: Vec<&str> =
        wanted.filter(|name| !lines.contains(&format!("CONFIG_{name}=y").as_str())).collect();
    assert_eq!(missing, Vec::<&str>::new());
    for name in ["squashfs", "iso9660", "overlay", "fuse"] {
        assert!(lines.iter().any(|line| line.ends_with(&format!("\t{name}"))), "{name}");
    }
}
