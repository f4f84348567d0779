//! Tests the scheduler with workers that have the access file and misbehave.

use std::ops::Range;

use super::tests::{connection, digest, finding, name, seconds, shape};
use super::*;

const CONFIG: SchedulerConfig = SchedulerConfig {
    lease_ttl: Duration::from_secs(10),
    lease_target: Duration::from_secs(2),
    shard_trials: Some(1),
    crash_limit: 4,
    loss_limit: 12,
    audit_percent: 0.0,
    audits_alone: false,
};

/// Items that a trial of the paper reads.
const ITEMS: u64 = 4123 * 20_000;

/// Returns a scheduler for trials of one condition that start at once.
fn scheduler(config: SchedulerConfig, trials: u32) -> Scheduler {
    Scheduler::new(config, shape(trials, &[(1, 0, 0)], 1), |_| false)
}

fn id(trial: u32) -> TrialId {
    TrialId { cohort: 0, variant: 0, trial }
}

/// Makes a new worker of this number connect from this site.
fn join(scheduler: &mut Scheduler, now: Time, worker: u64, site: Site, threads: u32) -> Vec<Command> {
    let (connection, worker) = (connection(worker), name(worker));
    let commands = scheduler.handle(now, Event::Joined { connection, worker, site, threads, held: vec![] });
    scheduler.check();
    commands
}

fn granted(commands: &[Command]) -> Vec<(u64, LeaseId, Work)> {
    let grant = |command: &Command| match command {
        Command::Grant { connection, lease, work } => Some((connection.0, *lease, work.clone())),
        _ => None,
    };
    commands.iter().filter_map(grant).collect()
}

fn trials(work: &Work) -> Range<u32> {
    let Work::Trials { trials, .. } = work else { panic!("{work:?}") };
    trials.clone()
}

/// Makes a worker deliver what a lease asks for. The store keeps it.
fn deliver(scheduler: &mut Scheduler, now: Time, worker: u64, lease: LeaseId, work: &Work) -> Vec<Command> {
    let connection = connection(worker);
    let mut commands = Vec::new();
    for trial in trials(work) {
        commands.extend(
            scheduler.handle(now, Event::Received { connection, lease: Some(lease), trial: id(trial) }),
        );
        commands.extend(scheduler.handle(now, Event::Stored { worker: name(worker), trial: id(trial) }));
    }
    commands.extend(scheduler.handle(now, Event::Finished { connection, lease: Some(lease) }));
    scheduler.check();
    commands
}

/// Lets time pass while these workers send heartbeats. Returns all commands of this time.
fn wait(scheduler: &mut Scheduler, now: &mut Time, until: Time, alive: &[u64]) -> Vec<Command> {
    let mut commands = Vec::new();
    while *now < until {
        *now += LOOK_EVERY;
        for worker in alive {
            commands.extend(scheduler.handle(*now, Event::Heard { connection: connection(*worker) }));
        }
        commands.extend(scheduler.handle(*now, Event::WakeUp));
        scheduler.check();
    }
    commands
}

fn abroad(address: u64) -> Site {
    Site::Address(address)
}

#[test]
fn a_survey_that_is_held_is_given_to_others_as_well() {
    let mut scheduler = Scheduler::new(CONFIG, shape(2, &[(1, ITEMS, 0)], 1), |id| id.trial == 0);
    let commands = join(&mut scheduler, Time::ZERO, 1, abroad(1), 1);
    let [(1, held, Work::Survey { parts, .. })] = &granted(&commands)[..] else { panic!("{commands:?}") };
    let commands = join(&mut scheduler, Time::ZERO, 2, abroad(2), 1);
    assert_eq!(granted(&commands), [], "there is nothing else to survey");
    let mut now = Time::ZERO;
    let commands = wait(&mut scheduler, &mut now, seconds(5.0), &[1, 2]);
    let [(2, lease, Work::Survey { parts: again, .. })] = &granted(&commands)[..] else {
        panic!("{commands:?}")
    };
    assert_eq!(parts, again);
    let counts = |parts: &Range<u32>| parts.clone().map(finding).collect::<Vec<u32>>();
    let surveyed = |worker, lease| Event::Surveyed {
        connection: connection(worker),
        lease: Some(lease),
        findings: counts(parts),
    };
    let commands = scheduler.handle(now, surveyed(2, *lease));
    assert!(commands.iter().any(|command| matches!(command, Command::KeepFindings { .. })), "{commands:?}");
    // If the first worker still delivers, its findings are accepted and change nothing.
    assert_eq!(scheduler.handle(now, surveyed(1, *held)), []);
    scheduler.check();
}

#[test]
fn a_held_trial_copy_and_check_do_not_hold_up_a_sweep() {
    let config = SchedulerConfig { audit_percent: 100.0, ..CONFIG };
    let mut scheduler = scheduler(config, 3);
    let mut now = Time::ZERO;
    // Two workers at one address hold every lease that they get.
    let mut commands = join(&mut scheduler, now, 1, abroad(1), 1);
    commands.extend(join(&mut scheduler, now, 2, abroad(1), 1));
    commands.extend(join(&mut scheduler, now, 3, abroad(3), 1));
    commands.extend(join(&mut scheduler, now, 4, abroad(4), 1));
    while !scheduler.ended {
        assert!(now < seconds(120.0), "the sweep does not end: {:?}", scheduler.trust);
        let honest: Vec<_> = granted(&commands).into_iter().filter(|(worker, ..)| *worker > 2).collect();
        let until = now + LOOK_EVERY;
        commands = wait(&mut scheduler, &mut now, until, &[1, 2, 3, 4]);
        for (worker, lease, work) in honest {
            commands.extend(deliver(&mut scheduler, now, worker, lease, &work));
        }
    }
    assert_eq!(scheduler.tally().audited, 3);
}

#[test]
fn a_worker_earns_its_leases() {
    let mut scheduler = scheduler(CONFIG, 100);
    let commands = join(&mut scheduler, Time::ZERO, 1, abroad(1), 4096);
    let [(1, lease, work)] = &granted(&commands)[..] else { panic!("{} leases", granted(&commands).len()) };
    let commands = deliver(&mut scheduler, seconds(1.0), 1, *lease, work);
    assert_eq!(granted(&commands).len(), 3);
    // A process of the coordinator has delivered nothing either, but needs no delivery.
    let commands = join(&mut scheduler, seconds(1.0), 2, Site::Own, 8);
    assert_eq!(granted(&commands).len(), 8);
}

#[test]
fn an_address_has_few_leases_before_it_delivers() {
    let mut scheduler = scheduler(CONFIG, 100_000);
    let mut leases = Vec::new();
    for worker in 0..1000 {
        leases.extend(granted(&join(&mut scheduler, Time::ZERO, worker, abroad(1), 8)));
    }
    assert_eq!(leases.len(), 64);
    // Another address is not affected.
    assert_eq!(granted(&join(&mut scheduler, Time::ZERO, 1000, abroad(2), 8)).len(), 1);
    // With the first delivery, the next worker in the queue gets a lease, in order of arrival and not of names.
    let (worker, lease, work) = leases[0].clone();
    let commands = deliver(&mut scheduler, seconds(1.0), worker, lease, &work);
    let called: Vec<u64> = granted(&commands).iter().map(|(worker, ..)| *worker).collect();
    assert!(called.contains(&64) && called.contains(&0), "{called:?}");
    // Workers that never deliver do not keep the others waiting for ever.
    let mut now = seconds(1.0);
    let alive: Vec<u64> = (0..1000).collect();
    let commands = wait(&mut scheduler, &mut now, seconds(60.0), &alive);
    assert!(granted(&commands).iter().any(|(worker, ..)| *worker > 200), "{:?}", granted(&commands).len());
}

/// Makes a worker report spikes of the first trial that differ from the stored ones.
fn disagree(scheduler: &mut Scheduler, worker: u64, said: u8) -> Vec<Command> {
    let [stored, received] = [1, said].map(digest);
    let event = Event::Disagreed { worker: name(worker), trial: id(0), stored, received };
    let commands = scheduler.handle(Time::ZERO, event);
    scheduler.check();
    commands
}

/// Makes a worker report the stored spikes of the first trial.
fn confirm(scheduler: &mut Scheduler, worker: u64) -> Vec<Command> {
    scheduler.handle(Time::ZERO, Event::Stored { worker: name(worker), trial: id(0) })
}

/// Returns the outcome of a settled dispute: whether the stored result is right, and the number of machines.
fn settled(commands: &[Command]) -> Option<(bool, usize)> {
    commands.iter().find_map(|command| match command {
        Command::Report(Report::Settled { stored_is_right, machines, .. }) => {
            Some((*stored_is_right, *machines))
        }
        _ => None,
    })
}

#[test]
fn workers_of_one_address_never_outvote_one_elsewhere() {
    let mut scheduler = scheduler(CONFIG, 4);
    for (worker, site) in [(1, abroad(1)), (2, abroad(1)), (3, abroad(1)), (4, abroad(2))] {
        join(&mut scheduler, Time::ZERO, worker, site, 1);
    }
    confirm(&mut scheduler, 4);
    assert_eq!([1, 2, 3].map(|liar| settled(&disagree(&mut scheduler, liar, 2))), [None; 3]);
    // The coordinator's own machine is the third.
    join(&mut scheduler, Time::ZERO, 5, Site::Own, 1);
    let commands = confirm(&mut scheduler, 5);
    assert_eq!(settled(&commands), Some((true, 3)));
    assert_eq!((scheduler.tally().quarantined, scheduler.tally().weakly_settled), (3, 0));
}

#[test]
fn audits_between_workers_of_one_address_count_until_others_come() {
    let config = SchedulerConfig { audit_percent: 100.0, ..CONFIG };
    let mut scheduler = scheduler(config, 3);
    let mut commands = join(&mut scheduler, Time::ZERO, 1, abroad(1), 1);
    commands.extend(join(&mut scheduler, Time::ZERO, 2, abroad(1), 1));
    // The third trial stays open.
    while let Some((worker, lease, work)) =
        granted(&commands).into_iter().find(|(.., work)| trials(work).start < 2)
    {
        let more = deliver(&mut scheduler, Time::ZERO, worker, lease, &work);
        commands.retain(|command| !matches!(command, Command::Grant { lease: of, .. } if *of == lease));
        commands.extend(more);
    }
    assert!(scheduler.tally().audited > 0);
    let commands = join(&mut scheduler, Time::ZERO, 3, abroad(3), 1);
    assert_eq!(scheduler.tally().audited, 0);
    let [(3, _, work)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    assert!(trials(work).start < 2);
}

#[test]
fn an_earlier_run_and_one_address_do_not_outvote_one_elsewhere() {
    let mut scheduler = Scheduler::new(CONFIG, shape(4, &[(1, 0, 0)], 1), |id| id.trial == 0);
    for (worker, site) in [(1, abroad(1)), (2, abroad(2))] {
        join(&mut scheduler, Time::ZERO, worker, site, 1);
    }
    assert_eq!(settled(&disagree(&mut scheduler, 2, 2)), None);
    assert_eq!(settled(&confirm(&mut scheduler, 1)), None);
    join(&mut scheduler, Time::ZERO, 3, Site::Own, 1);
    assert_eq!(settled(&disagree(&mut scheduler, 3, 2)), Some((false, 3)));
}

#[test]
fn on_one_machine_processes_of_the_coordinator_decide() {
    let mut scheduler = scheduler(CONFIG, 4);
    (1..=3).for_each(|worker| drop(join(&mut scheduler, Time::ZERO, worker, Site::Loopback, 1)));
    confirm(&mut scheduler, 1);
    assert_eq!([2, 3].map(|liar| settled(&disagree(&mut scheduler, liar, 2))), [None; 2]);
    join(&mut scheduler, Time::ZERO, 4, Site::Own, 1);
    let commands = confirm(&mut scheduler, 4);
    // There was no third machine, so the dispute counts as weakly settled.
    assert_eq!((settled(&commands), scheduler.tally().weakly_settled), (Some((true, 1)), 1));
}

#[test]
fn two_trusted_machines_need_a_third() {
    let mut scheduler = scheduler(CONFIG, 4);
    for (worker, site) in [(1, Site::Own), (2, Site::Own), (3, Site::Host(3))] {
        join(&mut scheduler, Time::ZERO, worker, site, 1);
    }
    confirm(&mut scheduler, 1);
    assert_eq!(settled(&disagree(&mut scheduler, 3, 2)), None);
    assert_eq!(
        settled(&confirm(&mut scheduler, 2)),
        None,
        "a machine may compute wrongly in all its processes"
    );
    join(&mut scheduler, Time::ZERO, 4, Site::Host(4), 1);
    assert_eq!(settled(&disagree(&mut scheduler, 4, 2)), Some((false, 3)));
}

#[test]
fn an_address_whose_workers_lie_is_shut_out_and_all_that_it_did_is_done_again() {
    let mut scheduler = scheduler(CONFIG, 100);
    let mut stored = Vec::new();
    for worker in 0..20 {
        let commands = join(&mut scheduler, Time::ZERO, worker, abroad(1), 1);
        if commands.iter().any(|command| matches!(command, Command::Drop { .. })) {
            assert_eq!(worker, 8);
            break;
        }
        let (_, lease, work) = granted(&commands).first().cloned().expect("a lease");
        deliver(&mut scheduler, Time::ZERO, worker, lease, &work);
        stored.extend(trials(&work).map(id));
        let invalid = Event::Invalid { connection: connection(worker), what: "nonsense".into() };
        let commands = scheduler.handle(Time::ZERO, invalid);
        scheduler.check();
        let discarded: Vec<TrialId> = commands
            .iter()
            .filter_map(
                |command| if let Command::Discard { trials } = command { Some(trials.clone()) } else { None },
            )
            .flatten()
            .collect();
        assert_eq!(discarded.is_empty(), worker < 7, "{discarded:?}");
        if worker == 7 {
            assert_eq!(discarded, stored);
        }
    }
}

#[test]
fn claims_of_one_address_do_not_set_trials_aside() {
    let mut scheduler = scheduler(CONFIG, 20);
    let mut now = Time::ZERO;
    let commands = join(&mut scheduler, now, 9999, abroad(2), 1);
    let mut honest = granted(&commands);
    // Each new worker fails four leases, one fewer than lead to quarantine, and leaves.
    for worker in 0..100 {
        let mut commands = join(&mut scheduler, now, worker, abroad(1), 1);
        for _ in 0..4 {
            let Some((_, lease, _)) = granted(&commands).first().cloned() else { break };
            let connection = connection(worker);
            commands =
                scheduler.handle(now, Event::Failed { connection, lease: Some(lease), reason: "no".into() });
            scheduler.check();
        }
        scheduler.handle(now, Event::Disconnected { connection: connection(worker) });
        now += seconds(0.1);
    }
    assert!(!scheduler.ended, "an address has ended the sweep");
    assert_eq!(scheduler.tally().set_aside, 0);
    while !scheduler.ended {
        assert!(now < seconds(60.0), "the sweep does not end");
        while let Some((worker, lease, work)) = honest.pop() {
            honest.extend(granted(&deliver(&mut scheduler, now, worker, lease, &work)));
        }
        // Leases of workers that left expire.
        let until = now + LOOK_EVERY;
        honest.extend(granted(&wait(&mut scheduler, &mut now, until, &[9999])));
    }
    assert_eq!((scheduler.tally().stored, scheduler.tally().set_aside), (20, 0));
}

#[test]
fn what_was_delivered_before_keeps_no_lease() {
    let mut scheduler = scheduler(CONFIG, 3);
    let mut now = Time::ZERO;
    let commands = join(&mut scheduler, now, 1, abroad(1), 1);
    let (_, lease, work) = granted(&commands)[0].clone();
    let commands = deliver(&mut scheduler, now, 1, lease, &work);
    let (_, held, _) = granted(&commands)[0].clone();
    let mut honest = granted(&join(&mut scheduler, now, 2, abroad(2), 1));
    while !scheduler.ended {
        assert!(now < seconds(120.0), "the sweep does not end");
        // The first worker repeats its one result under the lease that it holds, and claims that it is too large.
        let connection = connection(1);
        scheduler.handle(now, Event::Received { connection, lease: Some(held), trial: id(0) });
        scheduler.handle(now, Event::Stored { worker: name(1), trial: id(0) });
        scheduler.handle(now, Event::NoResult { connection, lease: Some(held), trial: id(0) });
        while let Some((worker, lease, work)) = honest.pop() {
            honest.extend(granted(&deliver(&mut scheduler, now, worker, lease, &work)));
        }
        let until = now + LOOK_EVERY;
        honest.extend(granted(&wait(&mut scheduler, &mut now, until, &[1, 2])));
        honest.retain(|(worker, ..)| *worker == 2);
    }
}

#[test]
fn a_worker_that_says_it_is_fast_does_not_make_others_slow() {
    let mut scheduler = scheduler(CONFIG, 100);
    let mut now = Time::ZERO;
    join(&mut scheduler, now, 1, abroad(1), 1);
    join(&mut scheduler, now, 2, abroad(2), 1);
    // The first worker finishes leases at once, without results.
    for lease in 1..4 {
        let (connection, lease) = (connection(1), LeaseId::new(lease));
        scheduler.handle(now, Event::Finished { connection, lease });
    }
    wait(&mut scheduler, &mut now, seconds(5.0), &[1, 2]);
    assert!(!scheduler.workers[&name(2)].is_stalled);
}

#[test]
fn work_that_comes_back_undone_is_not_handed_out_for_ever() {
    for hands_back in [true, false] {
        let mut scheduler = scheduler(CONFIG, 4);
        let mut commands = join(&mut scheduler, Time::ZERO, 1, abroad(1), 1);
        let mut leases = 0;
        while let Some((_, lease, _)) = granted(&commands).first().cloned() {
            leases += 1;
            assert!(leases < 100);
            let connection = connection(1);
            commands = scheduler.handle(
                Time::ZERO,
                if hands_back {
                    Event::HandedBack { connection, lease: Some(lease) }
                } else {
                    Event::Finished { connection, lease: Some(lease) }
                },
            );
            scheduler.check();
        }
        assert_eq!(scheduler.tally().quarantined, 1);
    }
}

#[test]
fn workers_that_have_gone_are_forgotten() {
    let mut scheduler = scheduler(CONFIG, 4);
    let mut forgotten = Vec::new();
    for worker in 0..5000 {
        let mut commands = join(&mut scheduler, Time::ZERO, worker, abroad(worker % 7), 1);
        if let Some((_, lease, _)) = granted(&commands).first().cloned() {
            let connection = connection(worker);
            commands.extend(scheduler.handle(Time::ZERO, Event::Draining { connection }));
            commands
                .extend(scheduler.handle(Time::ZERO, Event::HandedBack { connection, lease: Some(lease) }));
        }
        commands.extend(scheduler.handle(Time::ZERO, Event::Disconnected { connection: connection(worker) }));
        forgotten.extend(commands.into_iter().filter_map(|command| match command {
            Command::Forget { worker } => Some(worker),
            _ => None,
        }));
    }
    assert_eq!(forgotten, (0..5000 - 1024).map(name).collect::<Vec<_>>(), "the oldest first");
    assert_eq!(scheduler.workers().count(), 1024);
}

#[test]
fn parts_without_an_end_do_not_keep_a_lease_from_others() {
    let mut scheduler = scheduler(CONFIG, 40);
    let [trickles, works] = [Site::Address(1), Site::Address(2)];
    let mut granted_to = granted(&join(&mut scheduler, Time::ZERO, 1, trickles, 1));
    let (_, lease, work) = granted_to.remove(0);
    // The first worker delivers once, and from then on it sends parts only.
    let commands = deliver(&mut scheduler, seconds(1.0), 1, lease, &work);
    let [(_, lease, work)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    let (lease, held) = (*lease, trials(work));
    let mut open = granted(&join(&mut scheduler, seconds(1.0), 2, works, 1));
    let mut is_given = false;
    for second in 2..200 {
        let now = seconds(second.into());
        let part = Event::Part { connection: connection(1), lease: Some(lease) };
        scheduler.handle(now, part);
        for (worker, lease, work) in std::mem::take(&mut open) {
            assert_eq!(worker, 2);
            is_given |= trials(&work) == held;
            open.extend(granted(&deliver(&mut scheduler, now, 2, lease, &work)));
        }
        let beat = Event::Beat { connection: connection(2), held: vec![], last: None };
        scheduler.handle(now, beat);
        open.extend(granted(&scheduler.handle(now, Event::WakeUp)));
        scheduler.check();
    }
    assert!(is_given, "the other worker was never given what is held");
}
