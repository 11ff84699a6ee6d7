//! What is saved comes back as it was; what is not exactly that is refused.

use envoy_types::pb::google::protobuf::Any;
use proptest::prelude::*;
use proptest::sample::Index;
use tenbin_model::{Resource, xds};

use super::*;
use crate::xds::session::tests::{WEB, cluster, endpoints, keys, listener, name, routes, sticky};

fn owner() -> Owner {
    Owner {
        pod: EndpointId::parse("pod", "uid-1").unwrap(),
        listeners: vec![name(WEB)],
    }
}

fn kept(resources: &[Resource], version: &str, received: u64) -> Kept {
    let mut held = Resources::default();
    for resource in resources {
        let wire = xds::encode(resource);
        let entry = Entry::judge(resource.kind(), resource.name(), version.to_owned(), wire);
        held.insert(Arc::new(entry.unwrap()));
    }
    Kept {
        resources: Arc::new(held),
        received,
    }
}

/// All that follows from a listener whose routes lead to these clusters.
fn whole(clusters: &[&str]) -> Vec<Resource> {
    let mut resources = vec![listener("table"), routes("table", clusters)];
    for (cluster, last) in clusters.iter().zip(1..) {
        resources.extend([self::cluster(cluster, 1), endpoints(cluster, last)]);
    }
    resources
}

#[test]
fn session_keys_are_saved_with_their_cluster() {
    let mut resources = whole(&["a"]);
    resources[2] = sticky("a", "k");
    let without = kept(&resources, "v", 7);
    let bytes = without.encode(&owner()).unwrap();
    assert_eq!(Kept::decode(&owner(), &bytes), Ok(without), "nobody has keys");
    resources.push(keys("k", 1));
    let with = kept(&resources, "v", 7);
    assert_eq!(Kept::decode(&owner(), &with.encode(&owner()).unwrap()), Ok(with));
    resources.push(keys("other", 1));
    assert!(refusal(&body_of(&resources)).contains("not a whole set"));
}

fn saved() -> Vec<u8> {
    kept(&whole(&["a", "b"]), "v", 7).encode(&owner()).unwrap()
}

/// Bytes with an honest checksum, whatever is in them.
fn body_of(resources: &[Resource]) -> Body {
    let as_sent = |resource: &Resource| XdsResource {
        name: resource.name().as_str().to_owned(),
        version: "v".to_owned(),
        resource: Some(xds::encode(resource)),
        ..XdsResource::default()
    };
    Body {
        pod: "uid-1".to_owned(),
        listeners: vec![WEB.to_owned()],
        received: 7,
        resources: resources.iter().map(as_sent).collect(),
    }
}

fn refusal(body: &Body) -> String {
    let refused = Kept::decode(&owner(), &seal(&body.encode_to_vec()));
    refused.unwrap_err().to_string()
}

proptest! {
    #[test]
    fn what_is_saved_comes_back(
        clusters in prop::collection::btree_set("[a-z]{1,8}", 0..6),
        version in "[0-9a-f]{0,16}",
        received: u64,
    ) {
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        let kept = kept(&whole(&clusters), &version, received);
        let back = Kept::decode(&owner(), &kept.encode(&owner()).unwrap()).unwrap();
        prop_assert_eq!(back.len(), 2 + 2 * clusters.len());
        prop_assert_eq!(back, kept);
    }

    #[test]
    fn a_flipped_bit_is_refused(at: Index, bit in 0..8_u32) {
        let mut bytes = saved();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Kept::decode(&owner(), &bytes).is_err());
    }

    #[test]
    fn a_part_is_refused(length: Index) {
        let bytes = saved();
        prop_assert!(Kept::decode(&owner(), &bytes[..length.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(Kept::decode(&owner(), &bytes).is_err());
        prop_assert!(Kept::decode(&owner(), &seal(&bytes)).is_err());
    }

    /// A checksum says that bytes are those that were written, not that they are good.
    #[test]
    fn what_an_honest_checksum_covers_is_judged(at: Index, byte: u8) {
        let mut body = body_of(&whole(&["a", "b"])).encode_to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(kept) = Kept::decode(&owner(), &seal(&body)) {
            prop_assert!(whole::is_whole(&owner().listeners, &kept.resources));
        }
    }
}

#[test]
fn a_cluster_without_endpoints_is_whole() {
    let kept = kept(&[listener(WEB), routes(WEB, &["a"]), cluster("a", 1)], "v", 0);
    assert_eq!(Kept::decode(&owner(), &kept.encode(&owner()).unwrap()), Ok(kept));
}

#[test]
fn what_belongs_to_another_is_refused_and_named() {
    let mut other = owner();
    other.pod = EndpointId::parse("pod", "uid-2").unwrap();
    let error = Kept::decode(&other, &saved()).unwrap_err().to_string();
    assert_eq!(error, "pod: \"uid-1\" is not accepted, expected \"uid-2\"");
    let mut other = owner();
    other.listeners.push(name("shop/hello/admin"));
    let error = Kept::decode(&other, &saved()).unwrap_err();
    assert_eq!(error.path, "listeners");
}

#[test]
fn another_format_is_named_before_anything_else_is_read() {
    let mut bytes = saved();
    bytes[MAGIC.len()] = FORMAT + 1;
    bytes.truncate(MAGIC.len() + 1);
    let error = Kept::decode(&owner(), &bytes).unwrap_err().to_string();
    assert_eq!(error, "format: \"2\" is not accepted, expected 1");
}

#[test]
fn one_resource_that_is_not_accepted_refuses_all() {
    let mut bad = whole(&["a", "b"]);
    bad[2] = cluster("a", 0);
    let error = refusal(&body_of(&bad));
    assert!(error.starts_with("resources.a.connect_timeout: \"0ns\""), "{error}");

    let mut body = body_of(&whole(&["a"]));
    body.resources[3].name = "b".to_owned();
    assert!(refusal(&body).contains("b, as it was sent under"));
    body.resources[3].resource = Some(Any::default());
    assert!(refusal(&body).contains("type_url"));
    body.resources[3] = body.resources[2].clone();
    assert!(refusal(&body).contains("at most once"), "{}", refusal(&body));
}

#[test]
fn what_is_not_whole_or_more_than_that_is_refused() {
    let whole = whole(&["a", "b"]);
    for missing in [1, 2, 4] {
        let mut part = whole.clone();
        part.remove(missing);
        assert!(refusal(&body_of(&part)).contains("not a whole set"), "{missing}");
    }
    let mut more = whole;
    more.push(cluster("c", 1));
    assert!(refusal(&body_of(&more)).contains("not a whole set"));
}

#[test]
fn what_is_too_large_is_neither_saved_nor_read() {
    let mut large = kept(&whole(&["a"]), "v", 0);
    let mut wire = xds::encode(&cluster("a", 1));
    wire.value.resize(MAX + 1, 0);
    let entry = Entry {
        resource: cluster("a", 1),
        version: String::new(),
        wire,
    };
    Arc::make_mut(&mut large.resources).insert(Arc::new(entry));
    assert_eq!(large.encode(&owner()).unwrap_err().path, "size");
    let error = Kept::decode(&owner(), &vec![0; MAX + 1]).unwrap_err().to_string();
    assert_eq!(
        error,
        "size: \"6291457 bytes\" is not accepted, expected at most 6291456 bytes"
    );
}

#[test]
fn an_age_is_never_negative() {
    let kept = kept(&[], "v", 100);
    assert_eq!(kept.age(Duration::from_millis(100_500)), Duration::from_millis(500));
    assert_eq!(kept.age(Duration::from_secs(99)), Duration::ZERO);
}
