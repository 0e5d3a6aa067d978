//! `corecast doctor` with planted `/proc` and `/sys` files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use corecast::config::{Config, ConnectionLimit, Shards, TrustedProxy};
use corecast::doctor::{Finding, Level, examine};
use corecast::relay::{self, BuildError};
use tempfile::TempDir;

/// The results on a well-configured machine.
const GOOD: [(&str, &str); 13] = [
    (
        "proc/self/limits",
        "Limit Soft Limit Hard Limit Units\nMax open files            1024  1048576  files\n",
    ),
    (
        "proc/self/status",
        "Name:\tcorecast\nCpus_allowed_list:\t0-7\n",
    ),
    ("proc/self/cgroup", "0::/system.slice/corecast.service\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/core/wmem_max", "4194304\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("proc/sys/net/ipv4/tcp_mem", "1500000\t2000000\t3000000\n"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
    (
        "sys/fs/cgroup/system.slice/corecast.service/cpu.max",
        "max 100000\n",
    ),
];

/// A well-configured machine, except for these files.
fn machine(planted: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in GOOD.iter().chain(planted) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    root
}

fn config(change: fn(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// The findings that are not good.
fn complaints(root: &Path, change: fn(&mut Config)) -> Vec<Finding> {
    let mut findings = examine(&config(change), root);
    findings.retain(|finding| finding.level != Level::Ok);
    findings
}

#[test]
fn a_machine_that_is_set_up_well_is_well() {
    let root = machine(&[]);
    assert_eq!(complaints(root.path(), |_| {}), []);
    let checks: Vec<_> = examine(&Config::default(), root.path())
        .iter()
        .map(|finding| finding.check)
        .collect();
    let all = [
        "open_files",
        "file_max",
        "somaxconn",
        "syn_backlog",
        "port_range",
        "own_ports",
        "tcp_mem",
        "tcp_wmem",
        "tcp_rmem",
        "cpu_set",
    ];
    assert_eq!(checks, all);
}

/// A file, its content, a configuration, and the resulting complaint.
type Case = (
    &'static str,
    &'static str,
    fn(&mut Config),
    &'static str,
    Level,
    &'static str,
);

const LIMITS: &str = "proc/self/limits";
const FEW_FILES: &str = "Max open files            1024  4096  files\n";

const CASES: [Case; 14] = [
    (
        LIMITS,
        FEW_FILES,
        |_| {},
        "open_files",
        Level::Warn,
        "ulimit -Hn 1048576",
    ),
    (
        LIMITS,
        FEW_FILES,
        |config| config.limits.connections = ConnectionLimit::Count(10_000),
        "open_files",
        Level::Fail,
        "ulimit -Hn 10854",
    ),
    (
        "proc/sys/fs/file-max",
        "50000",
        |_| {},
        "file_max",
        Level::Warn,
        "sysctl -w fs.file-max=\"1048576\"",
    ),
    (
        "proc/sys/net/core/somaxconn",
        "128",
        |_| {},
        "somaxconn",
        Level::Warn,
        "sysctl -w net.core.somaxconn=\"4096\"",
    ),
    (
        "proc/sys/net/ipv4/tcp_max_syn_backlog",
        "512",
        |_| {},
        "syn_backlog",
        Level::Warn,
        "sysctl -w net.ipv4.tcp_max_syn_backlog=\"4096\"",
    ),
    (
        "proc/sys/net/ipv4/ip_local_port_range",
        "50000 51000",
        |_| {},
        "port_range",
        Level::Warn,
        "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
    ),
    (
        "proc/sys/net/core/somaxconn",
        "4096",
        |config| {
            config.server.trusted_proxies = vec![TrustedProxy::Unix];
            config.limits.connections = ConnectionLimit::Count(50_000);
        },
        "port_range",
        Level::Warn,
        "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
    ),
    (
        "proc/sys/net/core/somaxconn",
        "4096",
        |config| config.server.port = 40_000,
        "own_ports",
        Level::Warn,
        "sysctl -w net.ipv4.ip_local_reserved_ports=\"40000\"",
    ),
    (
        "proc/sys/net/ipv4/tcp_mem",
        "10000 20000 30000",
        |config| config.limits.connections = ConnectionLimit::Count(100_000),
        "tcp_mem",
        Level::Warn,
        "sysctl -w net.ipv4.tcp_mem=\"300000 400000 600000\"",
    ),
    (
        "proc/sys/net/ipv4/tcp_wmem",
        "4096 16384 65536",
        |_| {},
        "tcp_wmem",
        Level::Warn,
        "sysctl -w net.ipv4.tcp_wmem=\"4096 16384 4194304\"",
    ),
    (
        "proc/sys/net/core/wmem_max",
        "212992",
        |config| config.engine.send_buffer_bytes = Some(1 << 20),
        "wmem_max",
        Level::Warn,
        "sysctl -w net.core.wmem_max=\"1048576\"",
    ),
    (
        "proc/sys/net/netfilter/nf_conntrack_max",
        "65536",
        |config| config.limits.connections = ConnectionLimit::Count(100_000),
        "conntrack",
        Level::Warn,
        "sysctl -w net.netfilter.nf_conntrack_max=\"200000\"",
    ),
    (
        "proc/self/status",
        "Cpus_allowed_list:\t0,2\n",
        |config| config.engine.shards = Shards::Count(4),
        "cpu_set",
        Level::Warn,
        "corecast --shards auto",
    ),
    (
        "sys/fs/cgroup/system.slice/corecast.service/cpu.max",
        "150000 100000\n",
        |config| config.engine.shards = Shards::Count(4),
        "cpu_quota",
        Level::Warn,
        "corecast --shards 1",
    ),
];

#[test]
fn each_low_limit_is_reported_with_the_command_to_raise_it() {
    for (path, text, change, check, level, command) in CASES {
        let root = machine(&[(path, text)]);
        let found = complaints(root.path(), change);
        let [finding] = found.as_slice() else {
            panic!("{check}: {found:#?}");
        };
        assert_eq!((finding.check, finding.level), (check, level));
        assert_eq!(finding.command.as_deref(), Some(command), "{check}");
        assert!(finding.advice.is_some(), "{check}");
    }
}

#[test]
fn values_at_the_limit_are_sufficient() {
    let reserved = [("proc/sys/net/ipv4/ip_local_reserved_ports", "39000-40000\n")];
    let root = machine(&reserved);
    assert_eq!(
        complaints(root.path(), |config| config.server.port = 40_000),
        []
    );
    let root = machine(&[
        (LIMITS, "Max open files  1024  10854  files\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "10000"),
    ]);
    let wanted = |config: &mut Config| config.limits.connections = ConnectionLimit::Count(10_000);
    assert_eq!(complaints(root.path(), wanted), []);
}

#[test]
fn doctor_reports_too_few_files_like_the_start() {
    let mut config = Config::default();
    config.engine.shards = Shards::Count(255);
    let open_files = |files: usize| {
        let limits = format!("Max open files  64  {files}  files\n");
        let root = machine(&[
            (LIMITS, &limits),
            ("proc/self/status", "Cpus_allowed_list: 0-255\n"),
        ]);
        let findings = examine(&config, root.path()).into_iter();
        findings.take(1).next().expect("a finding")
    };
    let few = open_files(700);
    assert_eq!((few.check, few.level), ("open_files", Level::Fail));
    let start = relay::builder(&config, 700).err().expect("too few");
    let BuildError::Files { needed, .. } = start else {
        panic!("{start}");
    };
    assert_eq!(few.command, Some(format!("ulimit -Hn {needed}")));
    assert!(start.to_string().contains("255 shards"), "{start}");
    assert_eq!(open_files(needed - 1).level, Level::Fail);
    assert_eq!(open_files(needed).level, Level::Warn);
    assert!(relay::builder(&config, needed - 1).is_err());
    assert!(relay::builder(&config, needed).is_ok());
}

#[test]
fn unreadable_files_are_not_judged() {
    let nothing = tempfile::tempdir().expect("a directory");
    assert_eq!(examine(&Config::default(), nothing.path()), []);
    let files = GOOD.map(|(path, _)| (path, "\u{0}no numbers here"));
    let root = machine(&files);
    assert_eq!(complaints(root.path(), |_| {}), []);
}

fn doctor(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corecast"))
        .args(["doctor", "--root"])
        .arg(root)
        .args(arguments)
        .current_dir(root)
        .env_clear()
        .output()
        .expect("it runs")
}

#[test]
fn check_exits_1_for_impossible_configs_and_0_for_warnings() {
    let good = machine(&[]);
    let output = doctor(good.path(), &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("ok    open_files"), "{text}");
    assert!(text.ends_with("\nNo problems found.\n"), "{text}");
    let few = machine(&[(LIMITS, FEW_FILES)]);
    let output = doctor(few.path(), &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("warn  open_files"), "{text}");
    assert!(text.ends_with("\n0 to fix, 1 to consider.\n"), "{text}");
    let output = doctor(few.path(), &["--set", "limits.connections=10000"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("FAIL  open_files"), "{text}");
    assert!(
        text.contains("\n                        ulimit -Hn 10854\n"),
        "{text}"
    );
}

#[test]
fn with_json_there_is_an_object_for_each_check() {
    let root = machine(&[("proc/sys/net/core/somaxconn", "128")]);
    let output = doctor(root.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = findings.as_array().expect("a list");
    let of = |check: &str| findings.iter().find(|each| each["check"] == check);
    let somaxconn = of("somaxconn").expect("it was looked at");
    assert_eq!(somaxconn["level"], "warn");
    assert_eq!(
        somaxconn["command"],
        "sysctl -w net.core.somaxconn=\"4096\""
    );
    let files = of("open_files").expect("it was looked at");
    assert_eq!(
        (&files["level"], files["advice"].is_null()),
        (&"ok".into(), true)
    );
}

#[test]
fn this_machine_is_examined_too() {
    let findings = examine(&Config::default(), Path::new("/"));
    #[cfg(target_os = "linux")]
    assert!(
        findings.iter().any(|each| each.check == "open_files"),
        "{findings:?}"
    );
    assert!(findings.len() <= 13);
}
