//! Phrases shared by all formats of the report.

use crate::results::{CaseResult, ContenderResult, PEER_CHEAPER, Run, Standing};
use crate::stats::Figure;
use crate::table::digits;

/// The place of the judged contender in a case.
pub(super) const JUDGED: usize = 1;

/// How often the peers are cheaper, dearer or even, compared with Corecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) cheaper: usize,
    pub(super) dearer: usize,
    pub(super) even: usize,
    pub(super) wrong: usize,
    pub(super) not_measured: usize,
}

impl Tally {
    pub(super) fn of(run: &Run) -> Self {
        let mut tally = Self::default();
        for peer in run.cases.iter().flat_map(peers) {
            *match peer.standing() {
                Standing::Cheaper => &mut tally.cheaper,
                Standing::Dearer => &mut tally.dearer,
                Standing::Even => &mut tally.even,
                Standing::Wrong => &mut tally.wrong,
                Standing::NotMeasured => &mut tally.not_measured,
            } += 1;
        }
        tally
    }

    pub(super) fn text(&self) -> String {
        let Self {
            cheaper,
            dearer,
            even,
            wrong,
            not_measured,
        } = self;
        let all = cheaper + dearer + even + wrong + not_measured;
        format!(
            "Of {all} comparisons with peers, the peer is dearer in {dearer}, cheaper in \
             {cheaper}; {even} show no difference, in {wrong} the peer's deliveries were wrong, \
             {not_measured} could not be measured."
        )
    }
}

pub(super) fn peers(case: &CaseResult) -> &[ContenderResult] {
    case.contenders.get(JUDGED + 1..).unwrap_or_default()
}

/// Each case in which a peer is cheaper or a target is missed.
pub(super) fn losses(run: &Run) -> Vec<String> {
    let mut all = Vec::new();
    for case in &run.cases {
        if !case.is_ok() {
            let judged = case.contenders.get(JUDGED);
            let against_base = judged.and_then(|judged| judged.ratio).map(interval);
            let base = case.contenders.first().map_or("", |base| &base.name);
            let is_limit = !case.target.ends_with('×');
            let measured = match (is_limit, against_base) {
                (false, Some(ratio)) => format!("{ratio} × {base}"),
                _ => judged.and_then(|judged| judged.value).map_or_else(
                    || "not measured".to_owned(),
                    |value| format!("{} {}", digits(value.median), case.unit),
                ),
            };
            all.push(format!(
                "{}: {}, must be {}, is {measured}",
                case.title, case.verdict, case.target
            ));
        }
        // If the target is to be the cheapest, a peer with a smaller median misses it.
        let has_to_be_cheapest = case.verdict == PEER_CHEAPER;
        let cheaper = peers(case).iter().filter(|peer| {
            let is_smaller = peer.to_judged.is_some_and(|ratio| ratio.median <= 1.0);
            peer.standing() == Standing::Cheaper || (has_to_be_cheapest && is_smaller)
        });
        all.extend(cheaper.filter_map(|peer| {
            let ratio = interval(peer.to_judged?);
            Some(format!(
                "{}: {} takes {ratio} × what Corecast takes",
                case.title, peer.name
            ))
        }));
    }
    all
}

/// The circumstances of a run, a sentence each.
pub(super) fn circumstances(run: &Run) -> Vec<String> {
    let minutes = run.seconds.div_ceil(60);
    let awake = match run.machine.is_kept_awake {
        true => ", a virtual machine whose CPUs were kept awake",
        false => "",
    };
    let mut sentences = vec![
        format!(
            "{}, {} cores, Linux {}{awake}; {}",
            run.machine.cpu, run.machine.cores, run.machine.kernel, run.machine.pinning
        ),
        format!("{}, commit {}", run.machine.date, run.machine.commit),
        format!(
            "{} rounds with readings of {} ms, {minutes} minutes; load average {:.2} at the start",
            run.rounds, run.window_ms, run.machine.load_average
        ),
    ];
    if run.quiet.taken_again > 0 {
        sentences.push(format!(
            "{} readings were repeated because the host gave too much of their time to others; \
             of both the less disturbed one is kept",
            run.quiet.taken_again
        ));
    }
    sentences
}

/// The faults of a run, a sentence each.
pub(super) fn warnings(run: &Run) -> Vec<String> {
    let disturbed = run.quiet.disturbance(&run.machine);
    let disturbed =
        disturbed.map(|causes| format!("Disturbed, so that the figures are rough: {causes}."));
    let cut_off = (!run.is_finished).then(|| "Cut off: not all cases were measured.".to_owned());
    let few = (run.rounds < 5).then(|| {
        format!(
            "{} rounds are too few for a confidence interval: it is all that was seen.",
            run.rounds
        )
    });
    [disturbed, cut_off, few].into_iter().flatten().collect()
}

/// `1.05 (1.01–1.09)`.
pub(super) fn interval(figure: Figure) -> String {
    format!(
        "{:.2} ({:.2}–{:.2})",
        figure.median, figure.low, figure.high
    )
}

/// How a peer compares with Corecast.
pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Cheaper => "cheaper than Corecast",
        Standing::Dearer => "dearer",
        Standing::Even => "no difference shown",
        Standing::Wrong => "lost deliveries or their order",
        Standing::NotMeasured => "not measured",
    }
}

/// A median, if there is one.
pub(super) fn median(figure: Option<&Figure>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| digits(figure.median))
}

/// The remarks on a case, each once with the contenders that it concerns.
pub(super) fn remarks(case: &CaseResult) -> Vec<String> {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for one in &case.contenders {
        for remark in one.notes.iter().cloned().chain(one.failure()) {
            match all.iter_mut().find(|(said, _)| *said == remark) {
                Some((_, names)) => names.push(&one.name),
                None => all.push((remark, vec![&one.name])),
            }
        }
    }
    let count = case.contenders.len();
    let line = |(remark, names): &(String, Vec<&str>)| match names.len() == count && count > 1 {
        true => format!("all: {remark}"),
        false => format!("{}: {remark}", names.join("; ")),
    };
    all.iter().map(line).collect()
}
