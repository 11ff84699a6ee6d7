//! What the end-to-end tests share: a namespace of one's own on the kind cluster, apps in it, a load driver, a client of the
//! operator's stream. It knows the product by what users see (objects, listings, metrics, the wire) and none of its code, and
//! it judges nothing: that is the tests' part.

mod app;
mod chart;
mod curl;
mod driver;
mod kubectl;
mod lab;
mod metrics;
mod node;
mod objects;
mod settings;
mod statistics;
mod stream;
mod wait;

pub use app::{App, Balancing, demo_spec};
pub use curl::Curl;
pub use driver::{Driver, RunningLoad, explain};
pub use kubectl::{Kubectl, Outcome};
pub use lab::{Lab, say, test};
pub use metrics::{Sample, Samples};
pub use node::Node;
pub use objects::{Condition, is_ready, leaving_since_ms, pod_ip, pod_name, port_of, restarts, sidecar};
pub use settings::Settings;
pub use statistics::chi_square;
pub use stream::{CLUSTER, ENDPOINTS, LISTENER, ROUTES, Stream, Token};
pub use wait::{eventually, never_mind};
