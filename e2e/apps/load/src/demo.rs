//! The demo app's gRPC service: its messages and the paths of its calls, as `proto/demo.proto` has them. Written by hand, so that no
//! build needs a protobuf compiler. Both ends use it; neither is here.

/// What a call says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ask {
    /// Comes back.
    #[prost(string, tag = "1")]
    pub text: String,
    /// How many answers.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Milliseconds between answers, or before the one.
    #[prost(uint32, tag = "3")]
    pub ms: u32,
    /// A gRPC status to fail with.
    #[prost(uint32, tag = "4")]
    pub status: u32,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Said {
    /// Which replica answers.
    #[prost(string, tag = "1")]
    pub instance: String,
    /// The call's text.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Which answer it is, from 0; of `Gather`, how many messages came.
    #[prost(uint32, tag = "3")]
    pub number: u32,
}

/// One answer.
pub const SAY: &str = "/tenbin.demo.Demo/Say";
/// Many answers to one message.
pub const COUNT: &str = "/tenbin.demo.Demo/Count";
/// One answer to many messages.
pub const GATHER: &str = "/tenbin.demo.Demo/Gather";
/// An answer to each message.
pub const CHAT: &str = "/tenbin.demo.Demo/Chat";
/// One answer, after a while.
pub const WAIT: &str = "/tenbin.demo.Demo/Wait";

#[cfg(test)]
mod tests {
    const PROTO: &str = include_str!("../proto/demo.proto");

    #[test]
    fn the_file_for_others_says_the_same() {
        for path in [super::SAY, super::COUNT, super::GATHER, super::CHAT, super::WAIT] {
            let (service, call) = path.rsplit_once('/').expect("a path has two parts");
            assert_eq!(service, "/tenbin.demo.Demo");
            assert!(PROTO.contains(&format!("rpc {call}(")), "{path}");
        }
        let fields = [
            "string text = 1;",
            "uint32 count = 2;",
            "uint32 ms = 3;",
            "uint32 status = 4;",
            "string instance = 1;",
            "string text = 2;",
            "uint32 number = 3;",
        ];
        for field in fields {
            assert!(PROTO.contains(field), "{field}");
        }
    }
}
