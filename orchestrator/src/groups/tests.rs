use super::*;
use crate::run_dir::{RunDir, RunRecord};

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    (dir, home)
}

fn claim(home: &Home, name: &str, groups: &[GroupMembership]) -> Result<RunDir, Error> {
    let run = RunRecord { groups: groups.to_vec(), ..RunRecord::default() };
    RunDir::claim(home, Some(name), run)
}

fn aliased(group: &str, alias: &str) -> GroupMembership {
    GroupMembership { aliases: vec![alias.to_owned()], ..GroupMembership::new(group) }
}

#[test]
fn members_have_addresses_of_their_own_and_names() {
    let (_dir, home) = home();
    let web = claim(&home, "Web", &[aliased("front", "www"), GroupMembership::new("back")]).unwrap();
    let db = claim(&home, "db", &[aliased("back", "store")]).unwrap();
    let addresses = |run: &RunDir| run.record().groups.iter().map(|group| group.address).collect::<Vec<_>>();
    let (webs, dbs) = (addresses(&web), addresses(&db));
    assert_eq!(webs[1].octets()[3], 2);
    assert_eq!(dbs[0].octets(), [webs[1].octets()[0], webs[1].octets()[1], webs[1].octets()[2], 3]);
    assert_ne!(webs[0].octets()[..3], webs[1].octets()[..3], "subnets of their own");
    let resolved = |run: &RunDir, name: &str| resolve(&home, &run.record().groups, name);
    for name in ["db", "store", "db.back", &db.record().id] {
        assert_eq!(resolved(&web, name), Some(dbs.clone()), "{name}");
    }
    assert_eq!(resolved(&db, "web"), Some(vec![webs[1]]));
    // An alias of another group, and names of nobody.
    for name in ["www", "front", "db.front", "d", ""] {
        assert_eq!(resolved(&db, name), None, "{name}");
    }
    let member = running_member(&home, &web.record().groups[1], dbs[0]).unwrap();
    assert_eq!(member.name, "db");
    assert_eq!(running_member(&home, &web.record().groups[0], dbs[0]), None);
    drop(db);
    assert_eq!(resolved(&web, "store"), None);
    assert_eq!(
        list(&home).unwrap().iter().map(GroupRecord::full_name).collect::<Vec<_>>(),
        ["back", "front"]
    );
    drop(web);
    assert!(list(&home).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(home.groups()).unwrap().count(), 0, "groups that nobody keeps are gone");
}

#[test]
fn a_link_is_a_name_for_one_member_alone() {
    let (_dir, home) = home();
    let db = claim(&home, "db", &[GroupMembership::new("g")]).unwrap();
    let links = BTreeMap::from([("mysql".to_owned(), "db".to_owned())]);
    let web = claim(&home, "web", &[GroupMembership { links, ..GroupMembership::new("g") }]).unwrap();
    let address = db.record().groups[0].address;
    assert_eq!(resolve(&home, &web.record().groups, "mysql"), Some(vec![address]));
    assert_eq!(resolve(&home, &web.record().groups, "db"), Some(vec![address]));
    assert_eq!(resolve(&home, &db.record().groups, "mysql"), None);
}

#[test]
fn one_name_may_be_several_members() {
    let (_dir, home) = home();
    let all = ["a", "b", "c"].map(|name| claim(&home, name, &[aliased("g", "worker")]).unwrap());
    let joined = &all[0].record().groups;
    assert_eq!(resolve(&home, joined, "worker").unwrap().len(), 3);
}

#[test]
fn an_address_stays_until_the_sandbox_is_removed() {
    let (_dir, home) = home();
    let wanted = [GroupMembership::new("g")];
    let kept = |id: &str| {
        std::fs::create_dir_all(home.sandboxes().join(id)).unwrap();
        std::fs::write(home.sandboxes().join(id).join("sandbox.json"), "{}").unwrap();
    };
    kept("000000000001");
    let first = join(&home, ("000000000001", "one"), &wanted).unwrap();
    let other = claim(&home, "two", &wanted).unwrap();
    assert_eq!(join(&home, ("000000000001", "one"), &wanted).unwrap(), first);
    // It does not run: the name is known and has no address now.
    assert_eq!(resolve(&home, &other.record().groups, "one"), Some(vec![]));
    assert_eq!(running_member(&home, &other.record().groups[0], first[0].address), None);
    std::fs::remove_dir_all(home.sandboxes().join("000000000001")).unwrap();
    let third = claim(&home, "three", &wanted).unwrap();
    assert_eq!(third.record().groups[0].address, first[0].address, "the address is free again");
}

#[test]
fn a_member_may_choose_its_address_if_it_is_free() {
    let (_dir, home) = home();
    let subnet = Cidr { address: [10, 9, 8, 0].into(), prefix: 29 };
    let new = NewGroup { name: "g".to_owned(), subnet: Some(subnet), ..NewGroup::default() };
    create(&home, new.clone()).unwrap();
    let at =
        |last: u8| GroupMembership { address: Some([10, 9, 8, last].into()), ..GroupMembership::new("g") };
    let fifth = claim(&home, "fifth", &[at(5)]).unwrap();
    assert_eq!(fifth.record().groups[0].address, Ipv4Addr::new(10, 9, 8, 5));
    let taken = claim(&home, "again", &[at(5)]).unwrap_err().to_string();
    assert!(taken.contains("address 10.9.8.5 is sandbox fifth's"), "{taken}");
    for last in [0, 1, 7, 9] {
        let outside = claim(&home, "again", &[at(last)]).unwrap_err().to_string();
        assert!(outside.contains("is not one of 10.9.8.0/29"), "{outside}");
    }
    let others: Vec<_> =
        (0..4).map(|n| claim(&home, &format!("o{n}"), &[GroupMembership::new("g")]).unwrap()).collect();
    let full = claim(&home, "more", &[GroupMembership::new("g")]).unwrap_err().to_string();
    assert!(full.contains("group g: every address is taken"), "{full}");
    drop((fifth, others));
    assert!(create(&home, new).unwrap_err().to_string().contains("it exists already"));
    let overlapping = NewGroup { name: "h".to_owned(), subnet: Some(subnet), ..NewGroup::default() };
    assert!(create(&home, overlapping).unwrap_err().to_string().contains("another group's"));
}

#[test]
fn groups_of_projects_are_apart_and_removed_when_nobody_runs() {
    let (_dir, home) = home();
    let of =
        |project: &str| GroupMembership { project: Some(project.to_owned()), ..GroupMembership::new("g") };
    let shop = claim(&home, "a", &[of("shop")]).unwrap();
    let blog = claim(&home, "b", &[of("blog")]).unwrap();
    assert_eq!(resolve(&home, &shop.record().groups, "b"), None);
    assert_ne!(shop.record().groups[0].address, blog.record().groups[0].address);
    let busy = remove(&home, Some("shop"), "g").unwrap_err().to_string();
    assert!(busy.contains("group shop/g: sandbox a is running"), "{busy}");
    assert!(matches!(remove(&home, None, "g"), Err(Error::NoGroup(name)) if name == "g"));
    drop(shop);
    assert!(matches!(remove(&home, Some("shop"), "g"), Err(Error::NoGroup(_))));
    create(&home, NewGroup { name: "empty".to_owned(), ..NewGroup::default() }).unwrap();
    assert_eq!(prune(&home).unwrap(), ["empty"]);
    assert_eq!(list(&home).unwrap().len(), 1);
}

#[test]
fn a_record_that_makes_no_sense_is_named() {
    let (_dir, home) = home();
    create(&home, NewGroup { name: "g".to_owned(), ..NewGroup::default() }).unwrap();
    std::fs::write(home.groups().join("@g.json"), "{}").unwrap();
    let broken = claim(&home, "a", &[GroupMembership::new("g")]).unwrap_err().to_string();
    assert!(broken.contains("@g.json"), "{broken}");
}
