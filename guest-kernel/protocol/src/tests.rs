//! Round trips, and what hostile bytes do.

use crate::*;

fn sample() -> Vec<Request> {
    let mut exec = Exec::new(ExecId(1), ["sh", "-c", "echo hi"]);
    exec.env = vec![ByteString::from(&b"A=\xff"[..])];
    exec.stdio = Stdio::Terminal(TermSize { rows: 24, columns: 80 });
    exec.rlimits = vec![Rlimit { resource: Resource::Nofile, soft: 1024, hard: u64::MAX }];
    let mut configure = Configure::new(Root::Image { upper: Upper::Disk(ScratchDisk { grow: true }) });
    configure.mounts.push(Mount {
        source: MountSource::Share { name: "src".into(), populate: false },
        target: "/src".into(),
        read_only: true,
    });
    let address = ("fd00::2".parse().unwrap(), 64);
    configure.interface = Some(Interface {
        name: "eth0".into(),
        addresses: vec![address],
        gateways: vec![address.0],
        mtu: Some(1500),
    });
    configure.hosts.push(HostEntry { address: [10, 0, 0, 1].into(), names: vec!["db".into()] });
    vec![
        Request::Configure(Box::new(configure)),
        Request::Exec(Box::new(exec)),
        Request::Signal { exec: ExecId(1), signal: 15 },
        Request::Shutdown(RequestId(7)),
    ]
}

#[test]
fn messages_survive_the_trip_byte_by_byte() {
    let mut bytes = Vec::new();
    for request in sample() {
        encode_into(&request, &mut bytes).unwrap();
    }
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for byte in bytes {
        decoder.push(&[byte]);
        while let Some(request) = decoder.take::<Request>().unwrap() {
            seen.push(request);
        }
    }
    assert_eq!(seen, sample());
}

#[test]
fn a_reader_of_missing_bytes_takes_nothing_of_the_stream_behind() {
    let opening = Opening::Stream(StreamId::Exec { exec: ExecId(9), stream: Stream::Stdout });
    let mut wire = encode(&opening).unwrap();
    let frame_len = wire.len();
    wire.extend_from_slice(b"output");
    let mut decoder = Decoder::new(MAX_OPENING_BYTES);
    let mut at = 0;
    let seen = loop {
        if let Some(opening) = decoder.take::<Opening>().unwrap() {
            break opening;
        }
        let take = decoder.missing_bytes();
        decoder.push(&wire[at..at + take]);
        at += take;
    };
    assert_eq!((seen, at), (opening, frame_len));
}

#[test]
fn openings_fit_their_bound() {
    let longest = [
        Opening::Control { version: u32::MAX },
        Opening::Stream(StreamId::Exec { exec: ExecId(u32::MAX), stream: Stream::Terminal }),
        Opening::Stream(StreamId::File(RequestId(u32::MAX))),
    ];
    for opening in longest {
        assert!(encode(&opening).unwrap().len() - 4 <= MAX_OPENING_BYTES);
    }
}

#[test]
fn lengths_out_of_bounds_are_refused_before_anything_is_stored() {
    for length in [0u32, u32::try_from(MAX_FRAME_BYTES).unwrap() + 1, u32::MAX] {
        let mut decoder = Decoder::default();
        decoder.push(&length.to_le_bytes());
        assert_eq!(decoder.take::<Request>(), Err(DecodeError::Length(length as usize)));
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_sender() {
    let exec = Exec::new(ExecId(1), [vec![b'x'; MAX_FRAME_BYTES]]);
    let mut out = b"before".to_vec();
    assert!(matches!(encode_into(&Request::Exec(Box::new(exec)), &mut out), Err(EncodeError::TooLong(_))));
    assert_eq!(out, b"before");
}

#[test]
fn trailing_bytes_and_unknown_variants_are_refused() {
    assert_eq!(decode::<Opening>(&[0, 1, 0]), Err(DecodeError::Trailing(1)));
    assert_eq!(decode::<Opening>(&[2]), Err(DecodeError::Payload));
    // A list that claims more elements than there can be.
    assert_eq!(decode::<Vec<ByteString>>(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(DecodeError::Payload));
}

#[test]
fn any_prefix_or_flipped_bit_of_a_message_decodes_or_fails_cleanly() {
    for request in sample() {
        let frame = encode(&request).unwrap();
        for end in 4..frame.len() {
            assert!(decode::<Request>(&frame[4..end]).is_err());
        }
        for bit in 0..(frame.len() - 4) * 8 {
            let mut payload = frame[4..].to_vec();
            payload[bit / 8] ^= 1 << (bit % 8);
            let _ = decode::<Request>(&payload);
        }
    }
}

#[test]
fn the_opening_of_a_control_connection_never_changes() {
    assert_eq!(encode(&Opening::Control { version: 1 }).unwrap(), [2, 0, 0, 0, 0, 1]);
}

#[test]
fn a_signal_is_reported_as_a_shell_does() {
    assert_eq!(ExitStatus::Signal(9).code(), 137);
    assert_eq!(ExitStatus::Code(3).code(), 3);
}
