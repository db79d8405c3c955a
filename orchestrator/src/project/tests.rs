use super::labels::read_needs;
use super::plan::PlanRules;
use super::*;
use crate::config::Condition;
use crate::kept::NewSandbox;
use crate::spec::tests::minimal;
use crate::spec::{MountSource, MountSpec};
use crate::{Home, registry};

struct World {
    _dir: tempfile::TempDir,
    runner: ProjectRunner,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let images = Images::new(&home);
        let launcher = Launcher { home, program: "/nonexistent".into() };
        Self { _dir: dir, runner: ProjectRunner::new(launcher, images, "shop") }
    }

    fn home(&self) -> &Home {
        &self.runner.launcher.home
    }

    /// Writes the sandbox down as `up` does, without an image.
    fn make(&self, instance: &Instance) {
        let made = NewSandbox {
            spec: instance.spec.clone(),
            root: "alpine".to_owned(),
            image: Some("sha256:00".to_owned()),
            command: vec!["true".to_owned()],
            auto_remove: false,
        };
        registry::create(self.home(), made).unwrap();
    }

    fn changes(&self, wanted: &[Instance], rules: PlanRules<'_>) -> Vec<(String, Change)> {
        self.changes_with(wanted, rules, |_| None)
    }

    fn changes_with(
        &self,
        wanted: &[Instance],
        rules: PlanRules<'_>,
        image_of: impl Fn(&crate::spec::SandboxSpec) -> Option<String>,
    ) -> Vec<(String, Change)> {
        let plan = ProjectPlan::make(wanted, &self.runner.members().unwrap(), rules, image_of);
        plan.steps.into_iter().map(|step| (step.name, step.change)).collect()
    }
}

fn need(service: &str) -> Need {
    Need { service: service.to_owned(), condition: Condition::Healthy, required: true }
}

fn instance(service: &str, number: u32, needs: &[&str]) -> Instance {
    let needs = needs.iter().map(|name| need(name)).collect();
    Instance::new("shop", service, number, needs, minimal(), format!("shop-{service}-{number}")).unwrap()
}

fn named(name: &str, change: Change) -> (String, Change) {
    (name.to_owned(), change)
}

#[test]
fn needs_travel_as_a_label() {
    let made = instance("web", 1, &["db", "cache"]);
    assert_eq!(read_needs(&made.spec.labels), made.needs);
    let optional = Need { required: false, ..need("db") };
    let made =
        Instance::new("shop", "web", 1, vec![optional.clone()], minimal(), "shop-web-1".to_owned()).unwrap();
    assert_eq!(read_needs(&made.spec.labels), [optional]);
    let odd = [("dev.monocore.needs".to_owned(), "x,:started,a:b:started,y:never".to_owned())].into();
    let read: Vec<_> = read_needs(&odd).into_iter().map(|need| need.service).collect();
    assert_eq!(read, ["", "a:b"]);
}

#[test]
fn what_is_as_described_is_started_and_nothing_else_happens_to_it() {
    let world = World::new();
    let wanted = [instance("web", 1, &["db"]), instance("db", 1, &[])];
    let expected = [named("shop-web-1", Change::Create), named("shop-db-1", Change::Create)];
    assert_eq!(world.changes(&wanted, PlanRules::default()), expected);
    wanted.iter().for_each(|instance| world.make(instance));
    let expected = [named("shop-web-1", Change::Start), named("shop-db-1", Change::Start)];
    assert_eq!(world.changes(&wanted, PlanRules::default()), expected);
    let rules = PlanRules { recreate: true, ..PlanRules::default() };
    assert!(world.changes(&wanted, rules).iter().all(|(_, change)| *change == Change::Recreate(Vec::new())));
}

#[test]
fn a_change_of_the_description_or_the_image_replaces_the_sandbox() {
    let world = World::new();
    let mut web = instance("web", 1, &[]);
    world.make(&web);
    let moved = |_: &crate::spec::SandboxSpec| Some("sha256:11".to_owned());
    let image = [named("shop-web-1", Change::Recreate(vec!["image".to_owned()]))];
    assert_eq!(world.changes_with(&[web.clone()], PlanRules::default(), moved), image);
    web.spec.machine.shm_bytes += 1;
    web.spec.labels.insert("a".to_owned(), "b".to_owned());
    let parts = vec!["labels".to_owned(), "machine".to_owned()];
    let changes = world.changes(&[web], PlanRules::default());
    assert_eq!(changes, [named("shop-web-1", Change::Recreate(parts))]);
}

#[test]
fn replicas_too_many_go_and_services_that_are_no_longer_described_stay_until_asked() {
    let world = World::new();
    let all = [instance("web", 1, &[]), instance("web", 2, &[]), instance("old", 1, &[])];
    all.iter().for_each(|instance| world.make(instance));
    let wanted = [all[0].clone()];
    let expected = [named("shop-web-1", Change::Start), named("shop-web-2", Change::Remove)];
    assert_eq!(world.changes(&wanted, PlanRules::default()), expected);
    let rules = PlanRules { remove_orphans: true, ..PlanRules::default() };
    assert!(world.changes(&wanted, rules).contains(&named("shop-old-1", Change::Remove)));
}

#[test]
fn a_chosen_service_brings_what_it_needs() {
    let world = World::new();
    let wanted = [
        instance("web", 1, &["api"]),
        instance("api", 1, &["db"]),
        instance("db", 1, &[]),
        instance("other", 1, &[]),
    ];
    let services = ["api".to_owned()];
    let rules = PlanRules { services: &services, ..PlanRules::default() };
    let names: Vec<_> = world.changes(&wanted, rules).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["shop-api-1", "shop-db-1"]);
}

#[test]
fn what_needs_others_is_stopped_first_and_a_circle_ends() {
    let world = World::new();
    for instance in [instance("db", 1, &[]), instance("web", 1, &["api"]), instance("api", 1, &["db"])] {
        world.make(&instance);
    }
    let order = |members: &[Member]| -> Vec<Vec<String>> {
        let level = |level: Vec<&Member>| level.into_iter().map(|member| member.service.clone()).collect();
        stop::levels(members).into_iter().map(level).collect()
    };
    assert_eq!(order(&world.runner.members().unwrap()), [["web"], ["api"], ["db"]]);
    let circle = World::new();
    circle.make(&instance("a", 1, &["b"]));
    circle.make(&instance("b", 1, &["a"]));
    assert_eq!(order(&circle.runner.members().unwrap()), [["a", "b"]]);
}

#[test]
fn down_leaves_nothing_and_touches_no_other_project() {
    let world = World::new();
    let mut db = instance("db", 1, &[]);
    let mount = |name: &str| MountSpec {
        source: MountSource::Volume(name.to_owned()),
        ..crate::spec::parse_volume(&format!("{name}:/data")).unwrap()
    };
    db.spec.mounts = vec![mount("shop_data"), mount("mine")];
    world.make(&db);
    let other = Instance::new("blog", "db", 1, Vec::new(), minimal(), "blog-db-1".to_owned()).unwrap();
    world.make(&other);
    for name in ["shop_data", "mine"] {
        crate::volume::directory(world.home(), name).unwrap();
    }
    world.runner.down(&DownOptions { volumes: true, ..DownOptions::default() }).unwrap();
    assert!(world.runner.members().unwrap().is_empty());
    assert!(!world.home().volumes().join("shop_data").exists());
    assert!(world.home().volumes().join("mine").exists(), "only the project's own volumes go");
    assert_eq!(registry::list(world.home()).unwrap().len(), 1);
}

#[test]
fn a_projects_name_leads_nowhere_else() {
    let world = World::new();
    for name in ["../outside", "a/b", "", ".hidden"] {
        let runner = ProjectRunner { project: name.to_owned(), ..world.runner.clone() };
        let result = runner.down(&DownOptions::default());
        assert!(matches!(result, Err(Error::ProjectName(_))), "{name}");
    }
    assert!(!world.home().root().join("outside.lock").exists());
}

#[test]
fn ports_labels_and_restart_policy_change_without_a_restart() {
    let world = World::new();
    let mut web = instance("web", 1, &[]);
    web.spec.network.mode = crate::spec::NetworkMode::Nat;
    let publish = |text: &str| crate::spec::parse_publish(text).unwrap();
    web.spec.network.publish = publish("8080:80");
    world.make(&web);
    let changes = |web: &Instance| world.changes(std::slice::from_ref(web), PlanRules::default());
    let update = |parts: &[&str]| {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        vec![named("shop-web-1", Change::Update(parts))]
    };
    web.spec.network.publish = publish("8081:80");
    assert_eq!(changes(&web), update(&["ports"]));
    web.spec.restart = crate::spec::RestartPolicy::Always;
    web.spec.labels.insert("a".into(), "b".into());
    assert_eq!(changes(&web), update(&["labels", "ports", "restart"]));
    let member = world.runner.members().unwrap().remove(0);
    let kept = member.entry.kept.clone().unwrap();
    update::in_place(world.home(), Some(&member), &kept, &web.spec).unwrap();
    assert_eq!(changes(&web), [named("shop-web-1", Change::Start)]);
    // A free port of this host, or something else of the network, needs a new sandbox.
    let mut free = web.clone();
    free.spec.network.publish[0].host_port = 0;
    let mut search = web.clone();
    search.spec.network.dns_search = vec!["example".into()];
    for other in [free, search] {
        let recreate = Change::Recreate(vec!["network".to_owned()]);
        assert_eq!(changes(&other), [named("shop-web-1", recreate)]);
    }
}

/// The sandbox as a supervisor with a machine of this size would have it.
fn running(member: &mut Member, size: crate::MachineSize) {
    let run = crate::RunRecord { size: Some(size), ..crate::RunRecord::default() };
    let dir = tempfile::tempdir().unwrap();
    let claimed = crate::RunDir::claim(&Home::at(dir.path()), None, run).unwrap();
    member.entry.running = Some(claimed.record().clone());
}

#[test]
fn limits_change_without_a_restart_where_the_machine_has_room() {
    let world = World::new();
    let mut web = instance("web", 1, &[]);
    web.spec.machine.vcpus = 2;
    web.spec.machine.ram_mib = 256;
    world.make(&web);
    let mut members = world.runner.members().unwrap();
    let change = |members: &[Member], web: &Instance| {
        let plan = ProjectPlan::make(std::slice::from_ref(web), members, PlanRules::default(), |_| None);
        plan.steps[0].change.clone()
    };
    let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let mut larger = web.clone();
    (larger.spec.machine.vcpus, larger.spec.machine.ram_mib) = (4, 512);
    // One that does not run has another machine at its next start.
    assert_eq!(change(&members, &larger), Change::Update(parts(&["cpus", "memory"])));
    running(&mut members[0], crate::MachineSize { vcpus: 2, ram_mib: 400 });
    assert_eq!(change(&members, &larger), Change::Restart(parts(&["cpus", "memory"])));
    larger.spec.machine.vcpus = 1;
    assert_eq!(change(&members, &larger), Change::Restart(parts(&["memory"])));
    let mut smaller = web.clone();
    smaller.spec.machine = crate::spec::MachineSpec {
        cpu_millis: Some(500),
        ram_mib: 400,
        pids_limit: Some(9),
        ..smaller.spec.machine
    };
    smaller.spec.health = Some(crate::spec::HealthSpec { retries: Some(1), ..Default::default() });
    smaller.spec.limits.idle_timeout = Some(std::time::Duration::from_secs(9));
    smaller.spec.stop.grace = std::time::Duration::from_secs(1);
    let all = parts(&["health", "limits", "cpus", "memory", "pids_limit", "stop"]);
    let Change::Update(mut found) = change(&members, &smaller) else { panic!("it is not changed in place") };
    found.sort();
    assert_eq!(found, {
        let mut all = all;
        all.sort();
        all
    });
    // With anything else it is another sandbox.
    smaller.spec.machine.shm_bytes += 1;
    assert!(matches!(change(&members, &smaller), Change::Recreate(_)));
}
