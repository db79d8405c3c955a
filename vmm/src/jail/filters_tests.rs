use super::*;

const KINDS: [ThreadKind; 11] = [
    ThreadKind::Vcpu,
    ThreadKind::Vsock,
    ThreadKind::Tsi,
    ThreadKind::Block,
    ThreadKind::Fs,
    ThreadKind::Console,
    ThreadKind::Rng,
    ThreadKind::Balloon,
    ThreadKind::Nat,
    ThreadKind::Tap,
    ThreadKind::Passt,
];

type Tables = Vec<&'static [Rule]>;

/// Each filter with the tables it is of.
fn filters() -> Vec<(String, Tables, BpfProgram)> {
    let with = |kinds: &[ThreadKind], more: &[&'static [Rule]]| -> Tables {
        kinds.iter().flat_map(|kind| syscalls::of(*kind)).chain(more).copied().collect()
    };
    let every = syscalls::EVERY_THREAD;
    let starts = [every, syscalls::STARTER];
    let mut all = Vec::new();
    for kind in KINDS {
        all.push((format!("{kind:?}"), with(&[kind], &[every]), thread(kind).unwrap()));
        let tables = with(&[kind], &[&starts[..], &[syscalls::VHOST_USER]].concat());
        all.push((format!("server of {kind:?}"), tables, server(kind).unwrap()));
    }
    let tables = with(&KINDS, &[&starts[..], &[syscalls::MACHINE]].concat());
    all.push(("main".into(), tables, main(&KINDS).unwrap()));
    let tables = with(&[ThreadKind::Fs], &[&starts[..], &[syscalls::LANDLOCK]].concat());
    all.push(("keeper".into(), tables, keeper().unwrap()));
    all.push(("broker".into(), vec![every, syscalls::BROKER], broker().unwrap()));
    all
}

/// What the kernel would answer to call `number` of architecture `arch` with `arguments`.
fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
    let (mut at, mut value) = (0usize, 0u32);
    loop {
        let op = &program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { op.jt } else { op.jf });
        match op.code {
            LOAD => {
                value = match op.k {
                    DATA_NUMBER => number,
                    DATA_ARCH => arch,
                    offset => arguments[usize::try_from((offset - DATA_ARGUMENTS) / 8).unwrap()],
                }
            }
            AND => value &= op.k,
            JUMP => at += usize::try_from(op.k).unwrap(),
            JUMP_EQUAL => at += jump(value == op.k),
            JUMP_GREATER_EQUAL => at += jump(value >= op.k),
            RETURN => return op.k,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// What the tables say about a call, read one rule after the other.
fn expected(tables: &Tables, number: u32, arguments: [u32; 6]) -> u32 {
    for rule in tables.iter().copied().flatten().filter(|rule| rule.call == i64::from(number)) {
        let Answer::Allow(tests) = rule.answer else { return NO_SUCH_CALL };
        let holds = |test: &Test| {
            let argument = arguments[usize::try_from(test.argument).unwrap()];
            values(test.values).unwrap().contains(&(argument & test.mask))
        };
        if tests.iter().all(holds) {
            return ALLOW;
        }
    }
    KILL_PROCESS
}

/// Arguments that pass `tests`.
fn passing(tests: &[Test]) -> [u32; 6] {
    let mut arguments = [0; 6];
    for test in tests {
        arguments[usize::try_from(test.argument).unwrap()] = values(test.values).unwrap()[0];
    }
    arguments
}

#[test]
fn a_filter_says_of_every_call_what_its_tables_say() {
    for (name, tables, program) in filters() {
        for number in (0..1024).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let mut tried = vec![[0; 6], [u32::MAX; 6]];
            for rule in tables.iter().copied().flatten().filter(|rule| rule.call == i64::from(number)) {
                let Answer::Allow(tests) = rule.answer else { continue };
                let good = passing(tests);
                tried.push(good);
                for argument in 0..6 {
                    for bit in 0..32 {
                        let mut other = good;
                        other[argument] ^= 1 << bit;
                        tried.push(other);
                    }
                }
            }
            for arguments in tried {
                let verdict = run(&program, AUDIT_ARCH, number, arguments);
                assert_eq!(verdict, expected(&tables, number, arguments), "{name}: {number} {arguments:x?}");
            }
        }
        let read = u32::try_from(libc::SYS_read).unwrap();
        assert_eq!(run(&program, AUDIT_ARCH ^ 1, read, [0; 6]), KILL_PROCESS, "another architecture");
    }
}

#[test]
fn no_table_starts_a_process_or_makes_a_unix_socket() {
    let call = |number: i64| u32::try_from(number).unwrap();
    for (name, _, program) in filters() {
        let verdict = |number, arguments| run(&program, AUDIT_ARCH, call(number), arguments);
        for number in [libc::SYS_execve, libc::SYS_fork, libc::SYS_vfork, libc::SYS_ptrace, libc::SYS_kill] {
            assert_eq!(verdict(number, [0; 6]), KILL_PROCESS, "{name}: {number}");
        }
        assert_ne!(verdict(libc::SYS_clone3, [0; 6]), ALLOW, "{name}");
        // SIGCHLD, as fork(2) has it; a thread in a user namespace of its own.
        for flags in [17, 0x3d_0f00 | 0x1000_0000] {
            assert_eq!(verdict(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]), KILL_PROCESS, "{name}: {flags:x}");
        }
        for kind in [1, 2, 3, 5] {
            let unix = verdict(libc::SYS_socket, [1, kind, 0, 0, 0, 0]);
            assert!(unix == KILL_PROCESS || (name == "broker" && kind == 1), "{name}: {kind}");
            let pair = verdict(libc::SYS_socketpair, [1, kind, 0, 0, 0, 0]);
            // Packets between members of a group: SOCK_SEQPACKET pairs are connected for good, as stream pairs are.
            let packets = kind == 5 && (name == "main" || name.ends_with("Nat") || name.ends_with("Tsi"));
            assert!(kind == 1 || packets || pair == KILL_PROCESS, "{name}: a pair of type {kind}");
        }
        // PROT_EXEC.
        assert_eq!(verdict(libc::SYS_mprotect, [0, 0, 4, 0, 0, 0]), KILL_PROCESS, "{name}");
        assert_eq!(verdict(libc::SYS_mmap, [0, 0, 5, 0x22, 0, 0]), KILL_PROCESS, "{name}");
    }
}

#[test]
fn only_vcpus_run_the_guest_and_every_device_interrupts_it() {
    let ioctl = u32::try_from(libc::SYS_ioctl).unwrap();
    for (name, _, program) in filters().into_iter().filter(|(name, ..)| name != "broker") {
        let verdict = |request: u32| run(&program, AUDIT_ARCH, ioctl, [0, request, 0, 0, 0, 0]);
        // KVM_IRQ_LINE, KVM_RUN, KVM_SET_USER_MEMORY_REGION, TIOCSTI.
        assert_eq!(verdict(0x4008_ae61), ALLOW, "{name}");
        let runs = ["Vcpu", "main", "server of Vcpu"].contains(&name.as_str());
        assert_eq!(verdict(0xae80), if runs { ALLOW } else { KILL_PROCESS }, "{name}");
        assert_eq!(verdict(0x4020_ae46), KILL_PROCESS, "{name}");
        assert_eq!(verdict(0x5412), KILL_PROCESS, "{name}");
    }
}

#[test]
fn only_a_machines_main_thread_sends_a_signal_and_only_the_kick_and_to_itself() {
    let call = u32::try_from(libc::SYS_tgkill).unwrap();
    let own = std::process::id();
    for (name, _, program) in filters() {
        let verdict = |process, signal| run(&program, AUDIT_ARCH, call, [process, 1, signal, 0, 0, 0]);
        let allowed = if name == "main" { ALLOW } else { KILL_PROCESS };
        assert_eq!(verdict(own, kick_signal()), allowed, "{name}");
        assert_eq!(verdict(own, 9), KILL_PROCESS, "{name}");
        assert_eq!(verdict(own + 1, kick_signal()), KILL_PROCESS, "{name}");
    }
}
