//! What will happen: decided by the seed before anything starts.

use serde::Serialize;
use shers_contract::LatLon;
use shers_roads::{Facility, FacilityKind, RoadMap};

/// A small generator (SplitMix64): the plot must be the same on every machine and in every version.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed and a purpose, so that a change in one part of the plot leaves the others alone.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(seed ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F))
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// A number from 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { usize::try_from(self.next() % n as u64).unwrap_or(0) }
    }
    /// A number from `low` up to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

/// How big the city is.
#[derive(Clone, Copy, Debug)]
pub struct PlotOptions {
    /// Decides everything.
    pub seed: u64,
    /// Wearers.
    pub patients: usize,
    /// Ambulances.
    pub units: usize,
    /// Go on after the written part of the plot: a further emergency every few minutes, for a day.
    pub endless: bool,
}

impl PlotOptions {
    /// Wearers that the written part of the plot needs: two alone, then one more than there are ambulances.
    #[must_use]
    pub fn needed_patients(units: usize) -> usize {
        units.max(1) + 3
    }
}

/// How somebody falls ill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Illness {
    /// Breathing fails.
    Respiratory,
    /// The heart races.
    Cardiac,
    /// An infection spreads.
    Sepsis,
    /// A fall.
    Fall,
    /// Pressed the button.
    Sos,
}

/// One emergency of the plot.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Story {
    /// Whose, an index into the patients.
    pub patient: usize,
    /// When it begins, in city seconds after the start.
    pub begins_s: u32,
    /// What happens.
    pub illness: Illness,
    /// A relative calls as well, this many city seconds after it began.
    pub second_call_s: Option<u32>,
}

/// A wearer.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Wearer {
    /// `patient-01` …
    pub id: String,
    /// Made-up name.
    pub name: String,
    /// Home.
    pub home: LatLon,
    /// Year of birth.
    pub born: i16,
    /// Sandbox payment method.
    pub payment_method: String,
    /// Plan, for the insured.
    pub plan: Option<String>,
    /// Phone of the next of kin, a sandbox number.
    pub phone: String,
    /// Resting heart rate.
    pub resting_bpm: u16,
}

/// An ambulance.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ambulance {
    /// `RTW-01` …
    pub id: String,
    /// Where it waits.
    pub post: LatLon,
    /// Home station.
    pub station: String,
}

/// Everything that will happen.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Plot {
    /// The seed.
    pub seed: u64,
    /// Wearers.
    pub wearers: Vec<Wearer>,
    /// Ambulances.
    pub ambulances: Vec<Ambulance>,
    /// Stations: id, name, place.
    pub stations: Vec<(String, String, LatLon)>,
    /// Hospitals: id, name, place.
    pub hospitals: Vec<(String, String, LatLon)>,
    /// Emergencies, by time.
    pub stories: Vec<Story>,
}

const FIRST_NAMES: [&str; 16] = [
    "Ada", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Luca", "Mara",
    "Nils", "Olga", "Paul",
];
const LAST_NAMES: [&str; 12] =
    ["Amann", "Beck", "Caduff", "Dürr", "Eberle", "Frick", "Gassner", "Hasler", "Kaiser", "Marxer", "Ospelt", "Vogt"];
/// Seconds after the start when the first wearer falls ill: soon, a person is watching.
const FIRST_STORY_S: u32 = 45;
/// Seconds from the start of the story with the declined card.
const SECOND_STORY_S: u32 = 150;
/// Seconds from the start to the surge, in which more fall ill than there are ambulances.
const SURGE_S: u32 = 420;
/// Seconds between two emergencies of the surge, at most.
const SURGE_GAP_S: u32 = 25;
/// Seconds that the surge takes, at most: no ambulance is back from its first patient by then.
const SURGE_SPAN_S: u32 = 600;
/// Seconds of the endless part for which one ambulance has one emergency: a mission takes it about 25
/// minutes, so the fleet is busy but the queue of the surge drains and does not come back to stay.
const ENDLESS_UNIT_S: usize = 2_700;
/// Shortest seconds between two emergencies of the endless part, however many ambulances there are.
const ENDLESS_GAP_S: usize = 120;
/// How long the endless part is: about a day of city life.
const ENDLESS_S: u32 = 86_400;
/// Facilities taken from a map at most.
const MAX_FACILITIES: usize = 12;

impl Plot {
    /// The plot of a seed on a map. `facilities` are hospitals and stations; a map without any gets one of
    /// each, placed by the seed.
    #[must_use]
    pub fn new(options: PlotOptions, map: &RoadMap, facilities: &[Facility]) -> Self {
        let seed = options.seed;
        let (hospitals, stations) = places(seed, map, facilities);
        let wearers = (0..options.patients.max(PlotOptions::needed_patients(options.units)))
            .map(|n| wearer(seed, n, map))
            .collect::<Vec<_>>();
        let ambulances = (0..options.units.max(1)).map(|n| ambulance(n, &stations)).collect::<Vec<_>>();
        let mut stories = stories(seed, wearers.len(), ambulances.len());
        if options.endless {
            go_on(seed, wearers.len(), ambulances.len(), &mut stories);
        }
        let mut plot = Self { seed, wearers, ambulances, stations, hospitals, stories };
        // The second story is the one whose card is declined, whoever it is.
        if let Some(index) = plot.stories.get(1).map(|story| story.patient)
            && let Some(wearer) = plot.wearers.get_mut(index)
        {
            wearer.payment_method = "pm_card_chargeDeclined".to_owned();
            wearer.plan = None;
        }
        plot
    }
}

type Place = (String, String, LatLon);

fn places(seed: u64, map: &RoadMap, facilities: &[Facility]) -> (Vec<Place>, Vec<Place>) {
    let mut dice = Dice::new(seed, 1);
    let mut pick = |prefix: &str, fallback: &str, wanted: &dyn Fn(FacilityKind) -> bool| {
        let mut found: Vec<Place> = facilities
            .iter()
            .filter(|f| wanted(f.kind) && map.nearest_road(f.location).is_ok())
            .take(MAX_FACILITIES)
            .enumerate()
            .map(|(n, f)| {
                let name = if f.name.is_empty() { format!("{fallback} {}", n + 1) } else { f.name.clone() };
                (format!("{prefix}-{}", n + 1), name, f.location)
            })
            .collect();
        if found.is_empty() {
            let place = map.random_home_point(dice.unit(), dice.unit());
            found.push((format!("{prefix}-1"), fallback.to_owned(), place));
        }
        found
    };
    let hospitals = pick("hospital", "Hospital", &|kind| matches!(kind, FacilityKind::Hospital));
    let stations = pick("station", "Ambulance station", &FacilityKind::is_station);
    (hospitals, stations)
}

fn wearer(seed: u64, n: usize, map: &RoadMap) -> Wearer {
    let mut dice = Dice::new(seed, 1_000 + n as u64);
    let first = FIRST_NAMES.get(dice.below(FIRST_NAMES.len())).copied().unwrap_or("Ada");
    let last = LAST_NAMES.get(dice.below(LAST_NAMES.len())).copied().unwrap_or("Amann");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive ranges")]
    let (born, resting_bpm) = (dice.between(1935.0, 1985.0) as i16, dice.between(62.0, 78.0) as u16);
    let plan = ["basic", "full"].get(dice.below(3)).map(|plan| (*plan).to_owned());
    Wearer {
        id: format!("patient-{:02}", n + 1),
        name: format!("{first} {last}"),
        home: map.random_home_point(dice.unit(), dice.unit()),
        born,
        payment_method: "pm_card_visa".to_owned(),
        plan,
        phone: format!("+4179000{:04}", n + 1),
        resting_bpm,
    }
}

fn ambulance(n: usize, stations: &[Place]) -> Ambulance {
    let station = stations.get(n % stations.len().max(1));
    Ambulance {
        id: format!("RTW-{:02}", n + 1),
        post: station.map_or(LatLon { lat: 0.0, lon: 0.0 }, |s| s.2),
        station: station.map(|s| s.0.clone()).unwrap_or_default(),
    }
}

/// One who is saved and pays, one whose card is declined, then more at once than there are ambulances,
/// one of them called in twice.
fn stories(seed: u64, patients: usize, units: usize) -> Vec<Story> {
    let mut dice = Dice::new(seed, 2);
    let mut free: Vec<usize> = (0..patients).collect();
    let mut take = |dice: &mut Dice| if free.is_empty() { None } else { Some(free.remove(dice.below(free.len()))) };
    let illnesses = [Illness::Cardiac, Illness::Respiratory, Illness::Sepsis, Illness::Sos, Illness::Fall];
    let (units, span_s) = (u32::try_from(units).unwrap_or(u32::MAX), f64::from(SURGE_SPAN_S));
    let gap_s = f64::from(SURGE_GAP_S).min(span_s / f64::from(units));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the surge's span")]
    let surge = (0..=units).map(|n| SURGE_S + (gap_s * f64::from(n)) as u32);
    let begins = [FIRST_STORY_S, SECOND_STORY_S].into_iter().chain(surge);
    let mut stories = Vec::new();
    for (n, begins_s) in begins.enumerate() {
        let Some(patient) = take(&mut dice) else { break };
        let illness = match n {
            0 => Illness::Respiratory,
            1 => Illness::Cardiac,
            _ => illnesses.get(dice.below(illnesses.len())).copied().unwrap_or(Illness::Sos),
        };
        let second_call_s = (n == 2).then_some(90);
        stories.push(Story { patient, begins_s, illness, second_call_s });
    }
    stories
}

/// Goes on with one emergency after the other, each wearer in turn, so that nobody falls ill again before
/// the last time is over.
fn go_on(seed: u64, patients: usize, units: usize, stories: &mut Vec<Story>) {
    let mut dice = Dice::new(seed, 3);
    let ill: Vec<usize> = stories.iter().map(|story| story.patient).collect();
    let mut turn: Vec<usize> =
        (0..patients).filter(|patient| !ill.contains(patient)).chain(ill.iter().copied()).collect();
    let last_s = stories.last().map_or(0, |story| story.begins_s);
    let gap_s = u32::try_from((ENDLESS_UNIT_S / units.max(1)).max(ENDLESS_GAP_S)).unwrap_or(ENDLESS_S);
    for n in 1..=ENDLESS_S / gap_s {
        if turn.is_empty() {
            return;
        }
        let patient = turn.remove(0);
        turn.push(patient);
        let illnesses = [Illness::Cardiac, Illness::Respiratory, Illness::Sepsis, Illness::Sos, Illness::Fall];
        let illness = illnesses.get(dice.below(illnesses.len())).copied().unwrap_or(Illness::Sos);
        stories.push(Story { patient, begins_s: last_s + n * gap_s, illness, second_call_s: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(seed: u64) -> Plot {
        let map = RoadMap::built_in().expect("the built-in map");
        Plot::new(PlotOptions { seed, patients: 12, units: 3, endless: false }, &map, map.facilities())
    }

    #[test]
    fn the_same_seed_gives_the_same_plot_and_another_seed_another() {
        assert_eq!(plot(7), plot(7));
        assert_ne!(plot(7), plot(8));
    }

    #[test]
    fn the_endless_part_does_not_bring_more_than_the_ambulances_can_serve() {
        let map = RoadMap::built_in().expect("the built-in map");
        for units in [1, 3, 10] {
            let options = PlotOptions { seed: 1, patients: 24, units, endless: true };
            let plot = Plot::new(options, &map, map.facilities());
            let span_s = plot.stories.last().expect("stories").begins_s as usize;
            assert!(span_s > 80_000, "about a day");
            let served = span_s * units / 1_500 + units + 3;
            assert!(plot.stories.len() <= served, "{} stories for {units} units in {span_s} s", plot.stories.len());
        }
    }

    #[test]
    fn the_plot_has_a_declined_card_a_second_call_and_more_emergencies_than_units() {
        let map = RoadMap::built_in().expect("the built-in map");
        for (patients, units) in [(12, 3), (4, 1), (4, 20), (200, 150)] {
            let options = PlotOptions { seed: 1, patients, units, endless: false };
            has_every_story(&Plot::new(options, &map, map.facilities()));
        }
    }

    fn has_every_story(plot: &Plot) {
        assert_eq!(plot.wearers[plot.stories[1].patient].payment_method, "pm_card_chargeDeclined");
        assert_eq!(plot.stories.iter().filter(|s| s.second_call_s.is_some()).count(), 1);
        let surge = plot.stories.iter().filter(|s| s.begins_s >= SURGE_S).count();
        assert!(surge > plot.ambulances.len());
        let last_s = plot.stories.last().expect("stories").begins_s;
        assert!(last_s <= SURGE_S + SURGE_SPAN_S, "{last_s}");
        let mut patients: Vec<_> = plot.stories.iter().map(|s| s.patient).collect();
        patients.sort_unstable();
        patients.dedup();
        assert_eq!(patients.len(), plot.stories.len(), "nobody falls ill twice");
    }
}
