//! The jobs of continuous integration run the steps of `scripts/test`, all of them.

use std::fs;
use std::process::Command;

use crate::source::root;

/// The groups of steps that the workflow's matrix names.
fn groups_of_jobs(workflow: &str) -> Vec<&str> {
    let list = workflow
        .split_once("steps: [")
        .expect("a matrix of steps")
        .1;
    let list = list.split_once(']').expect("its end").0;
    list.split(',').map(str::trim).collect()
}

#[test]
fn every_step_of_the_script_runs_in_a_job() {
    let workflow = fs::read_to_string(root().join(".github/workflows/test.yaml"));
    let workflow = workflow.expect("the workflow");
    assert!(workflow.contains("run: scripts/test --quick"));
    let mut groups = groups_of_jobs(&workflow);
    let listed = Command::new(root().join("scripts/test"))
        .arg("--list")
        .output()
        .expect("the script runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    // Each line is a step, its groups and its heading, in columns.
    let steps: Vec<(&str, Vec<&str>)> = listed
        .lines()
        .map(|line| (line[..14].trim(), line[14..30].split_whitespace().collect()))
        .collect();
    assert!(steps.len() > 15, "{listed}");
    for (step, of) in &steps {
        let runs = of
            .iter()
            .any(|group| *group == "quick" || groups.contains(group));
        assert!(runs, "{step} runs in no job: {of:?}");
    }
    groups.retain(|group| !steps.iter().any(|(_, of)| of.contains(group)));
    assert_eq!(groups, [""; 0], "jobs without a step");
}
