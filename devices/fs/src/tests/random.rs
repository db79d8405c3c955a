//! Random requests against a share, with a model of what it must hold and a file beside it that must stay as it is.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::Client;
use super::client::libc_o;
use crate::wire::{Opcode, Rename2In};

/// One step of a guest.
#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Write(u8, u16, u8),
    Rename(u8, u8, u8),
    Unlink(u8),
    Forget(u8),
    ForgetRecent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..6).prop_map(Step::Create),
        (0u8..6, 0u16..5000, any::<u8>()).prop_map(|(name, offset, byte)| Step::Write(name, offset, byte)),
        (0u8..6, 0u8..6, 0u8..4).prop_map(|(from, to, flags)| Step::Rename(from, to, flags)),
        (0u8..6).prop_map(Step::Unlink),
        (0u8..6).prop_map(Step::Forget),
        Just(Step::ForgetRecent),
    ]
}

/// What the guest's kernel knows: names to contents and node numbers.
type Model = BTreeMap<String, (Vec<u8>, u64)>;

fn apply(client: &mut Client, model: &mut Model, step: &Step) {
    let name = |n: &u8| format!("n{n}");
    let share = client.share;
    match step {
        Step::Create(n) => {
            if let Ok((entry, fh)) = client.create_with(share, &name(n), 0o644, libc_o::EXCL) {
                client.release(Opcode::Release, entry.nodeid, fh).unwrap();
                assert!(model.insert(name(n), (Vec::new(), entry.nodeid)).is_none());
            } else {
                assert!(model.contains_key(&name(n)));
            }
        }
        Step::Write(n, offset, byte) => {
            let Some((content, node)) = model.get_mut(&name(n)) else { return };
            let fh = client.open(*node, libc_o::RDWR).unwrap();
            client.write(*node, fh, u64::from(*offset), &[*byte]).unwrap();
            let offset = usize::from(*offset);
            content.resize(content.len().max(offset + 1), 0);
            content[offset] = *byte;
            assert_eq!(&client.read(*node, fh, 0, 1 << 16).unwrap(), content);
            client.release(Opcode::Release, *node, fh).unwrap();
        }
        Step::Rename(from, to, flags) => {
            let rename = Rename2In { newdir: share, flags: (*flags).into(), padding: 0 };
            let done =
                client.named(Opcode::Rename2, share, rename.as_bytes(), &[&name(from), &name(to)]).is_ok();
            let (there, taken) = (model.contains_key(&name(from)), model.contains_key(&name(to)));
            let expected = match flags {
                0 => there,
                1 => there && !taken,
                2 => there && taken,
                _ => false,
            };
            assert_eq!(done, expected, "{from} {to} {flags}");
            if done && from != to {
                let moved = model.remove(&name(from));
                let replaced = moved.and_then(|moved| model.insert(name(to), moved));
                if let (2, Some(replaced)) = (flags, replaced) {
                    model.insert(name(from), replaced);
                }
            }
        }
        Step::Unlink(n) => {
            let done = client.named(Opcode::Unlink, share, &[], &[&name(n)]).is_ok();
            assert_eq!(done, model.remove(&name(n)).is_some());
        }
        Step::Forget(n) => {
            let Some((_, node)) = model.get_mut(&name(n)) else { return };
            client.forget(*node, 1);
            *node = client.lookup(share, &name(n)).unwrap().nodeid;
        }
        Step::ForgetRecent => client.server.nodes.forget_recent(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_share_holds_what_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        let mut client = Client::new();
        let mut model = Model::new();
        for step in &steps {
            apply(&mut client, &mut model, step);
        }
        for (name, (content, node)) in &model {
            prop_assert_eq!(&fs::read(client.path(name)).unwrap(), content);
            prop_assert_eq!(client.lookup(client.share, name).unwrap().nodeid, *node);
        }
        prop_assert_eq!(fs::read_dir(client.path("")).unwrap().count(), model.len());
    }

    #[test]
    fn arbitrary_requests_do_no_harm(
        requests in proptest::collection::vec(
            (0u32..56, 0u64..6, proptest::collection::vec(any::<u8>(), 0..120), 0u32..300), 1..40,
        ),
    ) {
        let mut client = Client::new();
        client.create(client.share, "f").unwrap();
        for (opcode, node, body, room) in requests {
            let _ = client.call_raw(opcode, node, &body, room.max(16));
        }
        prop_assert_eq!(fs::read(client.around().join("outside")).unwrap(), b"secret");
        prop_assert_eq!(fs::read_dir(client.around()).unwrap().count(), 2);
    }
}
