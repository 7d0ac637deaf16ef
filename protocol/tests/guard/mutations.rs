//! Bodies changed at random: whatever the guard lets through, the codec decodes whole and encodes again.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::bodies;
use super::shapes::for_each;

/// Mutants of each body.
const MUTANTS: usize = 40;

#[test]
fn what_the_guard_passes_the_codec_decodes() {
    let mut passed = 0_u64;
    for_each(|subject, version, seed| {
        let truth = bodies::valid(subject.shape, version, seed).bytes;
        let mut rng = SmallRng::seed_from_u64(seed);
        for _ in 0..MUTANTS {
            let mut body = truth.clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut body, &mut rng);
            }
            if subject.check(version, &body).is_err() {
                continue;
            }
            passed += 1;
            let body = Bytes::from(body);
            let at = || format!("{} version {version} seed {seed}: {body:02x?}", subject.name);
            (subject.decode)(&body, version).unwrap_or_else(|error| panic!("{}: {error}", at()));
            // Equal it need not be: a tagged field may have come to hold its default, a number to be NaN.
            _ = (subject.recode)(&body, version);
        }
    });
    assert!(passed > 1000, "only {passed} mutants passed: this test sees nothing");
}

fn mutate(body: &mut Vec<u8>, rng: &mut SmallRng) {
    const TELLING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];
    let byte = if rng.random() { TELLING[rng.random_range(0..TELLING.len())] } else { rng.random() };
    let at = rng.random_range(0..=body.len());
    match rng.random_range(0..5) {
        0 => body.insert(at, byte),
        1 if at < body.len() => _ = body.remove(at),
        2 if at < body.len() => {
            let until = rng.random_range(at..=body.len().min(at + 8));
            let copy = body[at..until].to_vec();
            let to = rng.random_range(0..=body.len());
            body.splice(to..to, copy);
        }
        3 if at < body.len() => body[at] ^= 1 << rng.random_range(0..8),
        _ if at < body.len() => body[at] = byte,
        _ => body.push(byte),
    }
}
