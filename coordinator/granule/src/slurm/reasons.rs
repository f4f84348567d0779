//! Reasons that a job waits, and what to do if waiting alone does not help (`man squeue`, "Job reason codes").

/// Returns what to do about a reason. None if the job starts by itself when others have ended.
pub(crate) fn advice(reason: &str) -> Option<&'static str> {
    const TIME: &str = "it requests more time than is allowed and will never start: cancel it, and request less \
        with --time";
    const SIZE: &str = "it requests more than is allowed and will never start: cancel it, and request less with \
        --nodes, or --workers and --cores";
    const LIMIT: &str =
        "a limit of the account or the quality of service is reached; it starts when other jobs have ended";
    // Some reasons have details: `ReqNodeNotAvail, UnavailableNodes:n1`.
    let word = reason.split([',', ' ']).next().unwrap_or_default();
    Some(match word {
        "PartitionTimeLimit" | "QOSTimeLimit" | "AssociationTimeLimit" | "AssociationWallClockLimit" => TIME,
        _ if word.contains("MaxWall") => TIME,
        "PartitionNodeLimit" | "PartitionConfig" => SIZE,
        "QOSResourceLimit"
        | "AssociationResourceLimit"
        | "AssociationJobLimit"
        | "QOSJobLimit"
        | "QOSUsageThreshold" => LIMIT,
        _ if word.ends_with("PerJobLimit") || word.ends_with("PerJob") || word.ends_with("PerNode") => SIZE,
        _ if word.starts_with("Assoc") || word.starts_with("QOS") => LIMIT,
        "PartitionDown" => {
            "the partition is down; wait for its administrators, or choose another with --partition"
        }
        "PartitionInactive" => {
            "the partition takes no jobs now; wait for its administrators, or choose another with --partition"
        }
        "BeginTime" => "its start time is not reached; a requeued job waits two minutes",
        "JobHeldUser" => "it is held; to release it: scontrol release JOB",
        "JobHeldAdmin" => "an administrator holds it; ask them why",
        "JobHoldMaxRequeue" => "it was requeued too often; to release it: scontrol release JOB",
        "Dependency" => "it waits for another job",
        "DependencyNeverSatisfied" => "a job that it depends on failed; it will never start: cancel it",
        "ReqNodeNotAvail" | "Nodes" => "nodes that it needs are down, drained or reserved",
        "BadConstraints" => {
            "no node has the resources that it requests; it will never start: cancel it, and change the request"
        }
        "AccountNotAllowed" | "InvalidAccount" => {
            "the account may not be used; name another with `-- --account=…`"
        }
        "InvalidQOS" => "the quality of service may not be used; name another with `-- --qos=…`",
        "ReservationDeleted" => "its reservation was deleted; it will never start: cancel it",
        "Reservation" => "it waits for the start of its reservation",
        "launch" | "JobLaunchFailure" | "NonZeroExitCode" => {
            "it could not be started and is held; see `scontrol show job JOB`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_passes_is_told_from_what_does() {
        for (reason, expected) in [
            ("PartitionTimeLimit", "request less with --time"),
            ("QOSMaxWallDurationPerJobLimit", "request less with --time"),
            ("AssocMaxWallDurationPerJobLimit", "request less with --time"),
            ("PartitionNodeLimit", "request less with --nodes"),
            ("PartitionConfig", "request less with --nodes"),
            (
                "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
                "down, drained or reserved",
            ),
            ("QOSMaxCpuPerJobLimit", "request less with --nodes"),
            ("AssocMaxJobsLimit", "when other jobs have ended"),
            ("QOSMaxJobsPerUserLimit", "when other jobs have ended"),
            ("AssocGrpCpuLimit", "when other jobs have ended"),
            ("PartitionDown", "choose another with --partition"),
            ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "down, drained or reserved"),
            ("BeginTime", "two minutes"),
            ("JobHeldUser", "scontrol release"),
            ("launch failed requeued held", "scontrol show job"),
        ] {
            let advice = advice(reason).unwrap_or_else(|| panic!("no advice about {reason}"));
            assert!(advice.contains(expected), "{reason}: {advice}");
        }
        for reason in ["None", "Resources", "Priority", "", "Licenses"] {
            assert_eq!(advice(reason), None, "{reason}");
        }
    }
}
