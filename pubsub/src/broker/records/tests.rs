use std::sync::Arc;

use tokio::time::{advance, timeout};

use super::*;
use crate::{broker::mock, testing::Hub};

const LONG: RecordTerms = RecordTerms { lease: Duration::from_secs(60), keep: Duration::from_secs(600) };

fn in_memory() -> Records {
    Hub::default().registry().records()
}

fn mocked(backend: &mock::Backend) -> Records {
    Records::new(Arc::new(backend.connect(Hub::default().registry().flow())))
}

fn accepted(outcome: &RecordOutcome) -> u64 {
    match outcome {
        RecordOutcome::Accepted { epoch } => *epoch,
        other => panic!("it is accepted, and not {other:?}"),
    }
}

async fn keys(records: &Records, prefix: &str, limit: usize) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = records.list(prefix, after.as_deref(), limit).await.unwrap().answer;
        assert!(page.records.len() <= limit);
        keys.extend(page.records.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_the_broker_is_asked() {
    let backend = mock::Backend::default();
    let records = mocked(&backend);
    backend.lock().black_hole = true;
    let fence = RecordFence { holder: "me", store: "any", epoch: 1 };
    let long_time = RecordTerms { keep: MAX_RECORD_TIME + Duration::from_nanos(1), ..LONG };
    let (key, holder) = ("k".repeat(MAX_RECORD_KEY_BYTES + 1), "h".repeat(MAX_RECORD_HOLDER_BYTES + 1));
    let value = vec![0; MAX_RECORD_VALUE_BYTES + 1];
    let refused = async {
        assert_eq!(records.claim(&key, "me", b"", LONG).await, Err(RecordError::KeyTooLong));
        assert_eq!(records.claim("key", &holder, b"", LONG).await, Err(RecordError::HolderTooLong));
        assert_eq!(records.claim("key", "me", &value, LONG).await, Err(RecordError::ValueTooLong));
        assert_eq!(records.claim("key", "me", b"", long_time).await, Err(RecordError::TimeTooLong));
        let taken = records.take_over("key", RecordTakeOver::Expired, "me", &value, LONG).await;
        assert_eq!(taken, Err(RecordError::ValueTooLong));
        assert_eq!(records.replace("key", fence, &value, LONG).await, Err(RecordError::ValueTooLong));
        let foreign = RecordFence { holder: &holder, ..fence };
        assert_eq!(records.remove("key", foreign).await, Err(RecordError::HolderTooLong));
        assert_eq!(records.remove(&key, fence).await, Err(RecordError::KeyTooLong));
        assert_eq!(records.renew(&holder, LONG.lease).await, Err(RecordError::HolderTooLong));
        assert_eq!(records.renew("me", long_time.keep).await, Err(RecordError::TimeTooLong));
        assert_eq!(records.list(&key, None, 1).await, Err(RecordError::KeyTooLong));
        assert_eq!(records.list("", Some(&key), 1).await, Err(RecordError::KeyTooLong));
        for limit in [0, MAX_RECORD_PAGE + 1] {
            assert_eq!(records.list("", None, limit).await, Err(RecordError::PageSize));
        }
    };
    timeout(Duration::from_secs(10), refused).await.expect("the broker, which answers nothing, is not asked");
}

#[tokio::test]
async fn what_is_just_short_enough_is_accepted() {
    let records = in_memory();
    let (key, holder) = ("k".repeat(MAX_RECORD_KEY_BYTES), "h".repeat(MAX_RECORD_HOLDER_BYTES));
    let terms = RecordTerms { lease: MAX_RECORD_TIME, keep: MAX_RECORD_TIME };
    accepted(&records.claim(&key, &holder, &vec![0; MAX_RECORD_VALUE_BYTES], terms).await.unwrap().answer);
    assert_eq!(keys(&records, &key, MAX_RECORD_PAGE).await, [key]);
}

#[tokio::test(start_paused = true)]
async fn record_is_held_then_expired_then_gone() {
    let records = in_memory();
    let claimed = records.claim("key", "first", b"begun", LONG).await.unwrap();
    let epoch = accepted(&claimed.answer);
    let record = |left| Record { holder: "first".into(), value: b"begun".to_vec(), epoch, lease_left: left };
    let held = |left| FromStore { store: claimed.store.clone(), answer: RecordOutcome::Held(record(left)) };
    advance(Duration::from_secs(59)).await;
    assert_eq!(records.claim("key", "second", b"", LONG).await.unwrap(), held(Duration::from_secs(1)));
    let taken = records.take_over("key", RecordTakeOver::Expired, "second", b"", LONG).await.unwrap();
    assert_eq!(taken, held(Duration::from_secs(1)));
    advance(Duration::from_secs(1)).await;
    // Somebody began and did not end: a claim may not hide that.
    assert_eq!(records.claim("key", "second", b"", LONG).await.unwrap(), held(Duration::ZERO));
    advance(Duration::from_secs(600)).await;
    let taken = records.take_over("key", RecordTakeOver::Expired, "second", b"", LONG).await.unwrap();
    assert_eq!(taken.answer, RecordOutcome::Absent);
    assert!(accepted(&records.claim("key", "second", b"", LONG).await.unwrap().answer) > epoch);
}

#[tokio::test]
async fn claim_of_a_former_store_is_refused() {
    let backend = mock::Backend::default();
    let records = mocked(&backend);
    let before = records.claim("key", "me", b"old", LONG).await.unwrap();
    let epoch = accepted(&before.answer);
    backend.forget_records();
    let after = records.claim("key", "me", b"new", LONG).await.unwrap();
    assert_ne!(after.store, before.store);
    // The new store counts from the beginning.
    assert_eq!(accepted(&after.answer), epoch);
    let fence = RecordFence { holder: "me", store: &before.store, epoch };
    let RecordOutcome::Held(record) = records.replace("key", fence, b"late", LONG).await.unwrap().answer else {
        panic!("it is refused")
    };
    assert_eq!(record.value, b"new");
    let from = RecordTakeOver::Claim { store: &before.store, epoch };
    let taken = records.take_over("key", from, "other", b"", LONG).await.unwrap();
    assert!(matches!(taken.answer, RecordOutcome::Held(_)));
}

#[tokio::test]
async fn broker_that_is_down_is_an_error_that_says_what_is_known() {
    let backend = mock::Backend::default();
    let (here, there) = (mocked(&backend), mocked(&backend));
    backend.lock().refused = true;
    assert_eq!(here.claim("refused", "me", b"", LONG).await, Err(RecordError::Down));
    for (key, arrives) in [("lost", false), ("counted", true)] {
        backend.lock().unknown = Some(arrives);
        assert_eq!(here.claim(key, "me", b"", LONG).await, Err(RecordError::Unknown));
    }
    backend.lock().unknown = Some(true);
    assert_eq!(here.renew("me", LONG.lease).await, Err(RecordError::Unknown));
    backend.down(0);
    assert_eq!(here.list("", None, 1).await, Err(RecordError::Down));
    assert_eq!(here.renew("me", LONG.lease).await, Err(RecordError::Down));
    assert_eq!(keys(&there, "", 10).await, ["counted"]);
}

#[tokio::test]
async fn value_of_a_record_is_not_printed() {
    let records = in_memory();
    records.claim("key", "me", b"canary", LONG).await.unwrap();
    let page = format!("{:?}", records.list("", None, 1).await.unwrap());
    let value = format!("{:?}", b"canary");
    assert!(page.contains("bytes: 6") && !page.contains("canary") && !page.contains(&value[2..7]), "{page}");
}
