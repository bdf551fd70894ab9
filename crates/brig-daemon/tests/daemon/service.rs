//! What operators and foreign tools need: health, reflection, metrics, info; and many callers at once.

use crate::support::*;
use brig_api::pb;
use brig_api::pb::info_service_client::InfoServiceClient;
use brig_core::backend::Condition;
use brig_daemon::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn a_serving_daemon_is_healthy_under_every_name() {
    let daemon = Daemon::start().await;
    for name in [
        "",
        "brig.v1.ExecutionService",
        "brig.v1.FileService",
        "brig.v1.InfoService",
    ] {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let health = HealthClient::new(daemon.channel()).check(request).await.unwrap();
        let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
        assert_eq!(health.into_inner().status(), serving, "{name}");
    }
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let daemon = Daemon::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = futures_util::stream::iter([request]);
    let mut answers = ServerReflectionClient::new(daemon.channel())
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in [
        "brig.v1.ExecutionService",
        "brig.v1.FileService",
        "brig.v1.InfoService",
    ] {
        assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
    }
}

#[tokio::test]
async fn info_tells_the_limits_and_what_the_host_gives() {
    let daemon = Daemon::start().await;
    let info = InfoServiceClient::new(daemon.channel())
        .get_info(pb::GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.backends, ["fake"]);
    assert_eq!(info.backend_reports[0].name, "fake");
    assert_eq!(info.max_concurrent_jobs, 4);
    assert_eq!(info.default_limits.unwrap().memory_bytes, Some(512 << 20));
    assert!(info.host.is_some());
}

/// What the metrics listener says.
async fn metrics(address: std::net::SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn metrics_count_jobs_in_the_words_of_states_and_verdicts() {
    // A port of the moment: taken and given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let with_metrics = |config: &mut Config| config.metrics = Some(free);
    let daemon = Daemon::start_with(with_metrics).await;
    all_events(daemon.execute(script("exit 3")).await.unwrap()).await;
    let text = metrics(free).await;
    for line in [
        "brig_jobs_accepted_total{method=\"Execute\"} 1",
        "brig_jobs_ended_total{state=\"finished\",kind=\"exited\"} 1",
        "brig_jobs{state=\"finished\"} 1",
        "brig_jobs{state=\"queued\"} 0",
        "brig_program_wall_seconds_bucket{kind=\"exited\",le=\"+Inf\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_backend_in_trouble_shows_in_health_and_metrics_and_so_does_its_return() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let daemon = Daemon::start_with(|config: &mut Config| config.metrics = Some(free)).await;
    for (condition, cells, warm) in [
        (Condition::Unavailable, false, false),
        (Condition::Degraded, true, false),
        (Condition::Serving, true, true),
    ] {
        daemon.backend.be(condition);
        for (service, wanted) in [("brig.fake", cells), ("brig.fake.warm", warm)] {
            health_becomes(&daemon, service, wanted).await;
        }
        let text = metrics(free).await;
        for line in [
            format!("brig_backend_serving{{backend=\"fake\"}} {}", u8::from(cells)),
            format!("brig_backend_degraded{{backend=\"fake\"}} {}", u8::from(!warm)),
            "brig_cells_ready{backend=\"fake\"} 3".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
    // The daemon as a whole serves all the while: the other backends do.
    health_becomes(&daemon, "", true).await;
    all_events(daemon.execute(script("exit 0")).await.unwrap()).await;
    let text = metrics(free).await;
    assert!(
        text.contains("brig_cells_opened_total{backend=\"fake\",how=\"on_demand\"} 1"),
        "{text}"
    );
}

/// Follows the health of a service until it is as wanted.
async fn health_becomes(daemon: &Daemon, service: &str, serves: bool) {
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let wanted = if serves { Serving } else { NotServing };
    let follow = async {
        let mut client = HealthClient::new(daemon.channel());
        // Its name is known from the first look on.
        let mut news = loop {
            match client.watch(request.clone()).await {
                Ok(news) => break news.into_inner(),
                Err(_unknown) => tokio::task::yield_now().await,
            }
        };
        loop {
            match news.message().await.unwrap() {
                Some(health) if health.status() == wanted => return,
                Some(_) => {}
                None => panic!("the stream of {service:?} ended"),
            }
        }
    };
    let patience = std::time::Duration::from_secs(20);
    assert!(
        tokio::time::timeout(patience, follow).await.is_ok(),
        "{service:?} never became {wanted:?}"
    );
}

#[tokio::test]
async fn of_many_callers_at_once_each_gets_its_own_output() {
    let daemon = Daemon::start().await;
    let calls = (0..200).map(|n| {
        let daemon = &daemon;
        async move {
            let events = all_events(daemon.execute(script(&format!("out token-{n}"))).await.unwrap()).await;
            (n, output(&events, pb::OutputStream::Stdout))
        }
    });
    for (n, said) in futures_util::future::join_all(calls).await {
        assert_eq!(said, format!("token-{n}\n").into_bytes());
    }
    assert_eq!(daemon.backend.runs(), 200);
    assert!(daemon.backend.most_cells() <= 4);
}

#[tokio::test]
async fn somebody_who_only_connects_leaves_room_for_jobs() {
    let daemon = Daemon::start().await;
    daemon.submit(script("exit 0")).await;
    let socket = daemon.data.path().join("brig.sock");
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(tokio::net::UnixStream::connect(&socket).await.unwrap());
    }
    // The last ones are closed at once, without an answer.
    for last in silent.iter_mut().skip(520) {
        assert_eq!(last.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    let job = daemon.submit(script("exit 0")).await;
    daemon.end_of(&job).await;
    // Leaving makes room.
    drop(silent);
    let request = pb::ExecutionServiceListRequest::default();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while daemon.other_client().await.list(request.clone()).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody is let in again");
    }
}
