//! What the demo app answers over gRPC: all four kinds of call, and one that waits. The messages are the load driver's, which is the
//! client.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use tenbin_load::demo::{self, Ask, Said};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::answers::App;
use crate::body::Body;

type Answer = Result<tonic::Response<Said>, Status>;
type Answers = BoxStream<'static, Result<Said, Status>>;

/// Answers a call.
pub(crate) async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let mut grpc = Grpc::new(ProstCodec::<Said, Ask>::default());
    let path = request.uri().path().to_owned();
    let response = match path.as_str() {
        demo::SAY => grpc.unary(service_fn(|ask| say(app, ask)), request).await,
        demo::COUNT => grpc.server_streaming(service_fn(|ask| count(app, ask)), request).await,
        demo::GATHER => grpc.client_streaming(service_fn(|all| gather(app, all)), request).await,
        demo::CHAT => grpc.streaming(service_fn(|all| chat(app, all)), request).await,
        demo::WAIT => grpc.unary(service_fn(|ask| wait(app, ask)), request).await,
        other => Status::unimplemented(format!("there is no {other}")).into_http(),
    };
    response.map(Body::other)
}

fn said(app: &App, text: String, number: u32) -> Said {
    Said {
        instance: app.instance().to_owned(),
        text,
        number,
    }
}

/// What the caller said of `x-…` comes back, and by when it wanted its answer.
fn back(asked: &MetadataMap) -> MetadataMap {
    let mut kept = MetadataMap::new();
    for pair in asked.iter() {
        if let KeyAndValueRef::Ascii(name, value) = pair
            && name.as_str().starts_with("x-")
        {
            kept.append(name.clone(), value.clone());
        }
    }
    if let Some(deadline) = asked.get("grpc-timeout") {
        kept.insert("x-demo-deadline", deadline.clone());
    }
    kept
}

fn respond<T>(message: T, metadata: MetadataMap) -> tonic::Response<T> {
    let mut response = tonic::Response::new(message);
    *response.metadata_mut() = metadata;
    response
}

async fn say(app: &App, ask: tonic::Request<Ask>) -> Answer {
    let metadata = back(ask.metadata());
    let ask = ask.into_inner();
    if ask.status > 0 {
        let code = Code::from(i32::try_from(ask.status).unwrap_or_default());
        return Err(Status::with_metadata(code, ask.text, metadata));
    }
    Ok(respond(said(app, ask.text, 0), metadata))
}

async fn count(app: &Arc<App>, ask: tonic::Request<Ask>) -> Result<tonic::Response<Answers>, Status> {
    let metadata = back(ask.metadata());
    let (app, ask) = (Arc::clone(app), ask.into_inner());
    let pause = Duration::from_millis(ask.ms.into());
    let answers = stream::iter(0..ask.count).then(move |number| {
        let answer = said(&app, ask.text.clone(), number);
        async move {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            Ok(answer)
        }
    });
    Ok(respond(answers.boxed(), metadata))
}

async fn gather(app: &App, all: tonic::Request<Streaming<Ask>>) -> Answer {
    let metadata = back(all.metadata());
    let (number, text) = all
        .into_inner()
        .try_fold((0, String::new()), async |(number, _), ask| Ok((number + 1, ask.text)))
        .await?;
    Ok(respond(said(app, text, number), metadata))
}

async fn chat(app: &Arc<App>, all: tonic::Request<Streaming<Ask>>) -> Result<tonic::Response<Answers>, Status> {
    let metadata = back(all.metadata());
    let app = Arc::clone(app);
    let numbered = all.into_inner().zip(stream::iter(0_u32..));
    let answers = numbered.map(move |(ask, number)| Ok(said(&app, ask?.text, number)));
    Ok(respond(answers.boxed(), metadata))
}

async fn wait(app: &App, ask: tonic::Request<Ask>) -> Answer {
    let metadata = back(ask.metadata());
    let ask = ask.into_inner();
    // A call that is cancelled is dropped where it waits.
    let waiting = app.waits.begin();
    tokio::time::sleep(Duration::from_millis(ask.ms.into())).await;
    waiting.end();
    Ok(respond(said(app, ask.text, 0), metadata))
}
