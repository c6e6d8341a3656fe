//! Vital signs over time: rest with a little noise, and how an illness changes them.

use crate::plot::{Dice, Illness, Wearer};

/// Seconds in which an illness takes its full course.
const ONSET_S: f64 = 40.0;

/// What a wearable shows at a moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Signs {
    pub heart_rate_bpm: u16,
    pub spo2_pct: u8,
    pub respiration_rate_bpm: u16,
    pub temperature_c: f64,
    pub fall: bool,
    pub sos: bool,
}

/// Signs of a wearer `second` seconds after the start; `ill` is the illness and how long it has lasted.
pub fn signs(seed: u64, wearer: &Wearer, index: usize, second: u32, ill: Option<(Illness, f64)>) -> Signs {
    let mut dice = Dice::new(seed, (index as u64) << 32 | u64::from(second));
    let mut noise = |width: f64| dice.between(-width, width);
    let rest = (f64::from(wearer.resting_bpm) + noise(3.0), 97.5 + noise(0.9), 15.0 + noise(1.4), 36.7 + noise(0.1));
    let severe = |illness| match illness {
        Illness::Respiratory => (128.0, 86.0, 31.0, 37.0),
        Illness::Cardiac => (152.0, 91.0, 26.0, 36.4),
        Illness::Sepsis => (126.0, 90.0, 27.0, 39.6),
        Illness::Fall => (104.0, 95.0, 20.0, 36.5),
        Illness::Sos => (112.0, 94.0, 22.0, 36.8),
    };
    let (values, fall, sos) = match ill {
        None => (rest, false, false),
        Some((illness, lasted_s)) => {
            let share = (lasted_s / ONSET_S).clamp(0.0, 1.0);
            let worst = severe(illness);
            let mix = |a: f64, b: f64| a + (b - a) * share;
            let now = (mix(rest.0, worst.0), mix(rest.1, worst.1), mix(rest.2, worst.2), mix(rest.3, worst.3));
            let struck = share >= 1.0 && lasted_s < ONSET_S + 10.0;
            (now, struck && illness == Illness::Fall, struck && illness == Illness::Sos)
        }
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "physiological ranges")]
    Signs {
        heart_rate_bpm: values.0.round() as u16,
        spo2_pct: values.1.round().min(100.0) as u8,
        respiration_rate_bpm: values.2.round() as u16,
        temperature_c: (values.3 * 10.0).round() / 10.0,
        fall,
        sos,
    }
}
