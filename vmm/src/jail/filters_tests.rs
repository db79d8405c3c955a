use super::*;

const KINDS: [ThreadKind; 10] = [
    ThreadKind::Vcpu,
    ThreadKind::Vsock,
    ThreadKind::Tsi,
    ThreadKind::Block,
    ThreadKind::Fs,
    ThreadKind::Console,
    ThreadKind::Rng,
    ThreadKind::Nat,
    ThreadKind::Tap,
    ThreadKind::Passt,
];

/// What the kernel would answer to call `number` of architecture `arch` with `arguments`.
fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 2]) -> u32 {
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
            JUMP_EQUAL => at += jump(value == op.k),
            JUMP_GREATER_EQUAL => at += jump(value >= op.k),
            RETURN => return op.k,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

#[test]
fn every_number_gets_its_verdict() {
    for kind in KINDS {
        let program = thread(kind).unwrap();
        let listed: Vec<i64> =
            syscalls::of(kind).iter().copied().flatten().chain(syscalls::EVERY_THREAD).copied().collect();
        for number in (0..1024).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            if number == u32::try_from(libc::SYS_socket).unwrap()
                || number == u32::try_from(libc::SYS_unshare).unwrap()
            {
                continue;
            }
            let expected = if listed.contains(&i64::from(number)) { ALLOW } else { KILL_PROCESS };
            assert_eq!(run(&program, AUDIT_ARCH, number, [0; 2]), expected, "{kind:?} {number}");
        }
        let read = u32::try_from(libc::SYS_read).unwrap();
        assert_eq!(run(&program, AUDIT_ARCH ^ 1, read, [0; 2]), KILL_PROCESS, "another architecture");
    }
}

#[test]
fn every_thread_raises_interrupt_lines_and_asks_nothing_else_of_kvm() {
    let ioctl = u32::try_from(libc::SYS_ioctl).unwrap();
    for kind in KINDS {
        let program = thread(kind).unwrap();
        let verdict = |request: u64| run(&program, AUDIT_ARCH, ioctl, [0, u32::try_from(request).unwrap()]);
        assert_eq!(verdict(RAISE_REQUESTS[0]), ALLOW, "{kind:?}");
        // KVM_RUN and KVM_SET_USER_MEMORY_REGION.
        let runs = if kind == ThreadKind::Vcpu { ALLOW } else { KILL_PROCESS };
        assert_eq!(verdict(RUN_REQUESTS[0]), runs, "{kind:?}");
        assert_eq!(verdict(0x4020_ae46), KILL_PROCESS, "{kind:?}");
    }
    // The file server's thread is started by a thread of its own, whose filter it inherits.
    let raise = u32::try_from(RAISE_REQUESTS[0]).unwrap();
    assert_eq!(run(&keeper().unwrap(), AUDIT_ARCH, ioctl, [0, raise]), ALLOW);
}

#[test]
fn an_argument_decides_where_a_list_says_so() {
    let ioctl = u32::try_from(libc::SYS_ioctl).unwrap();
    let vcpu = thread(ThreadKind::Vcpu).unwrap();
    let main = main(&[ThreadKind::Vcpu, ThreadKind::Vsock]).unwrap();
    let request = |list: &[u64], at: usize| u32::try_from(list[at]).unwrap();
    for at in 0..BIND_REQUESTS.len() {
        assert_eq!(run(&vcpu, AUDIT_ARCH, ioctl, [0, request(BIND_REQUESTS, at)]), KILL_PROCESS);
        assert_eq!(run(&main, AUDIT_ARCH, ioctl, [0, request(BIND_REQUESTS, at)]), ALLOW);
    }
    for program in [&vcpu, &main] {
        assert_eq!(run(program, AUDIT_ARCH, ioctl, [0, request(RUN_REQUESTS, 0)]), ALLOW);
        assert_eq!(run(program, AUDIT_ARCH, ioctl, [0, 0x5401]), KILL_PROCESS);
    }
    // It moves bytes of sockets that are there, and makes none.
    for (call, verdict) in [
        (libc::SYS_sendmsg, ALLOW),
        (libc::SYS_recvmsg, ALLOW),
        (libc::SYS_socket, KILL_PROCESS),
        (libc::SYS_connect, KILL_PROCESS),
        (libc::SYS_accept4, KILL_PROCESS),
        (libc::SYS_openat, KILL_PROCESS),
    ] {
        assert_eq!(run(&vcpu, AUDIT_ARCH, u32::try_from(call).unwrap(), [0; 2]), verdict, "{call}");
    }
    let socket = u32::try_from(libc::SYS_socket).unwrap();
    assert_eq!(run(&main, AUDIT_ARCH, socket, [1, 0]), ALLOW);
    assert_eq!(run(&main, AUDIT_ARCH, socket, [2, 0]), KILL_PROCESS);
    let tsi = thread(ThreadKind::Tsi).unwrap();
    for (family, verdict) in [(1, ALLOW), (2, ALLOW), (10, ALLOW), (16, KILL_PROCESS), (17, KILL_PROCESS)] {
        assert_eq!(run(&tsi, AUDIT_ARCH, socket, [family, 0]), verdict, "{family}");
    }
}
