//! Why a job waits, and what to do where waiting alone does not help (`man squeue`, "Job reason codes").

/// What to do about a reason; none where the job begins by itself, when others have ended.
pub(crate) fn advice(reason: &str) -> Option<&'static str> {
    const TIME: &str = "it asks for more time than is allowed, and will never begin: cancel it, and ask for less with --time";
    const SIZE: &str = "it asks for more than is allowed, and will never begin: cancel it, and ask for less with --nodes, \
                        or --workers and --cores";
    const LIMIT: &str =
        "a limit of the account or the quality of service is reached; it begins when other jobs have ended";
    // Some reasons have more behind them: `ReqNodeNotAvail, UnavailableNodes:n1`.
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
        "BeginTime" => {
            "it begins at a certain time; a job that was put back into the queue waits for two minutes"
        }
        "JobHeldUser" => "it is held; to let it go: scontrol release JOB",
        "JobHeldAdmin" => "an administrator holds it; ask them why",
        "JobHoldMaxRequeue" => "it was put back into the queue too often; to let it go: scontrol release JOB",
        "Dependency" => "it waits for another job",
        "DependencyNeverSatisfied" => "what it depends on has failed, and it will never begin: cancel it",
        "ReqNodeNotAvail" | "Nodes" => "nodes that it needs are down, drained or reserved",
        "BadConstraints" => {
            "no node has what it asks for, and it will never begin: cancel it, and ask for something else"
        }
        "AccountNotAllowed" | "InvalidAccount" => {
            "the account may not be used; name another with `-- --account=…`"
        }
        "InvalidQOS" => "the quality of service may not be used; name another with `-- --qos=…`",
        "ReservationDeleted" => "its reservation is gone, and it will never begin: cancel it",
        "Reservation" => "it waits for its reservation to begin",
        "launch" | "JobLaunchFailure" | "NonZeroExitCode" => {
            "it could not be begun, and is held; `scontrol show job JOB` says more"
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
            ("PartitionTimeLimit", "ask for less with --time"),
            ("QOSMaxWallDurationPerJobLimit", "ask for less with --time"),
            ("AssocMaxWallDurationPerJobLimit", "ask for less with --time"),
            ("PartitionNodeLimit", "ask for less with --nodes"),
            ("PartitionConfig", "ask for less with --nodes"),
            (
                "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
                "down, drained or reserved",
            ),
            ("QOSMaxCpuPerJobLimit", "ask for less with --nodes"),
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
