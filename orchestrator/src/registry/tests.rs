use super::*;
use crate::run_dir::{NetworkRecord, RunRecord};
use crate::spec::tests::minimal;
use crate::{RunDir, registry};

struct World {
    _dir: tempfile::TempDir,
    home: Home,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        Self { _dir: dir, home }
    }

    fn create(&self, name: Option<&str>) -> Result<KeptSandbox, Error> {
        let mut spec = minimal();
        spec.name = name.map(str::to_owned);
        let made = NewSandbox {
            spec,
            root: "alpine".to_owned(),
            image: Some("sha256:00".to_owned()),
            command: vec!["true".to_owned()],
            auto_remove: false,
        };
        registry::create(&self.home, made)
    }
}

#[test]
fn a_sandbox_is_found_by_name_id_and_unique_prefix() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    let run = RunDir::claim(&world.home, None, RunRecord::default()).unwrap();
    let ids = [web.record().id.clone(), run.record().id.clone()];
    for (wanted, id) in
        [("web", &ids[0]), (&ids[0], &ids[0]), (&run.record().name, &ids[1]), (&ids[1], &ids[1])]
    {
        assert_eq!(&find(&world.home, wanted).unwrap().id, id, "{wanted}");
    }
    let differ = ids[0].bytes().zip(ids[1].bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(find(&world.home, &ids[0][..=differ]).unwrap().id, ids[0]);
    if differ > 0 {
        assert!(matches!(find(&world.home, &ids[0][..differ]), Err(Error::Ambiguous(_))));
    }
    for nobody in ["", "we", "webb", "../web", "zzz"] {
        assert!(matches!(find(&world.home, nobody), Err(Error::NoSandbox(_))), "{nobody}");
    }
}

#[test]
fn a_name_has_one_owner_whether_kept_or_running() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    assert!(matches!(world.create(Some("web")), Err(Error::NameInUse { .. })));
    assert!(matches!(
        RunDir::claim(&world.home, Some("web"), RunRecord::default()),
        Err(Error::NameInUse { .. })
    ));
    remove(&world.home, &web).unwrap();
    let run = RunDir::claim(&world.home, Some("web"), RunRecord::default()).unwrap();
    assert!(matches!(world.create(Some("web")), Err(Error::NameInUse { .. })));
    drop(run);
    world.create(Some("web")).unwrap();
}

#[test]
fn a_running_sandbox_is_neither_started_again_nor_removed() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    let run = RunDir::claim_kept(&world.home, &web, NetworkRecord::None).unwrap();
    assert!(matches!(
        RunDir::claim_kept(&world.home, &web, NetworkRecord::None),
        Err(Error::AlreadyRunning(_))
    ));
    assert!(matches!(remove(&world.home, &web), Err(Error::StillRunning(_))));
    drop(run);
    assert!(find(&world.home, "web").unwrap().running.is_none(), "the name stays with a kept sandbox");
    remove(&world.home, &web).unwrap();
    assert!(matches!(find(&world.home, "web"), Err(Error::NoSandbox(_))));
    assert!(matches!(RunDir::claim_kept(&world.home, &web, NetworkRecord::None), Err(Error::NoSandbox(_))));
}

#[test]
fn a_supervisor_that_was_killed_is_told() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    let running = SandboxState { status: SandboxStatus::Running, pid: Some(1), ..SandboxState::default() };
    web.write_state(&running).unwrap();
    for _ in 0..2 {
        let state = find(&world.home, "web").unwrap().state;
        assert_eq!((state.status, state.exit_code, state.pid), (SandboxStatus::Exited, Some(137), None));
    }
    assert_eq!(web.state().unwrap().status, SandboxStatus::Exited, "it is written down");
}

#[test]
fn what_is_half_made_or_half_removed_goes() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    let half = world.home.sandboxes().join("0123456789ab");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("state.json"), "{}").unwrap();
    assert_eq!(list(&world.home).unwrap().len(), 1);
    assert!(!half.exists());
    drop(web);
}

#[test]
fn a_record_that_is_damaged_is_told_and_names_the_file() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    let path = world.home.sandboxes().join(&web.record().id).join("sandbox.json");
    std::fs::write(&path, "{\"version\":1}").unwrap();
    let error = find(&world.home, "web").unwrap_err().to_string();
    assert!(error.contains("sandbox.json"), "{error}");
}

#[test]
fn a_new_name_replaces_the_old_one() {
    let world = World::new();
    let (web, _db) = (world.create(Some("web")).unwrap(), world.create(Some("db")).unwrap());
    assert!(matches!(rename(&world.home, &web, "db"), Err(Error::NameInUse { .. })));
    rename(&world.home, &web, "site").unwrap();
    assert_eq!(find(&world.home, "site").unwrap().id, web.record().id);
    assert!(matches!(find(&world.home, "web"), Err(Error::NoSandbox(_))));
    world.create(Some("web")).unwrap();
    // Whoever still knows it by its old name removes it all the same, and nothing of the other.
    remove(&world.home, &web).unwrap();
    assert!(find(&world.home, "web").is_ok());
    assert!(!world.home.names().join("site").is_symlink());
}

#[test]
fn an_update_changes_the_description_and_nothing_else() {
    let world = World::new();
    let web = world.create(Some("web")).unwrap();
    update(&world.home, &web, |spec| spec.machine.ram_mib = 777).unwrap();
    let now = find(&world.home, "web").unwrap().kept.unwrap();
    assert_eq!(now.record().spec.machine.ram_mib, 777);
    assert_eq!(now.record().created_ms, web.record().created_ms);
}
