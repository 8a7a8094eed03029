//! What to change, by what runs in the container: each remedy once, named by every verdict that it heals.
//!
//! Plain ASCII, code between backticks: the same text goes to a terminal and into Markdown.

use super::Fix;

pub(super) const EXEC_FORM: Fix = Fix {
    who: "Dockerfile",
    what: "Start the program itself, not a shell that starts it. CMD and ENTRYPOINT given as a list start the program. \
           Given as a plain string they run `/bin/sh -c`, and that shell is PID 1.",
    example: &[r#"CMD ["python3", "app.py"]"#],
};

pub(super) const SHELL_EXEC: Fix = Fix {
    who: "Shell script",
    what: "End it with `exec`. The shell becomes the program, and the program gets the signal.",
    example: &["#!/bin/sh", "./migrate", r#"exec python3 app.py "$@""#],
};

pub(super) const SHELL_TRAP: Fix = Fix {
    who: "Shell that stays",
    what: "Run the program in the background, pass the signal on, and wait twice: the first `wait` returns as soon as \
           the trap has run. A trap does not run while the shell waits for a program in the foreground.",
    example: &["app & pid=$!", r#"trap 'kill -TERM "$pid"' TERM"#, r#"wait "$pid""#, "trap - TERM", r#"wait "$pid""#],
};

pub(super) const NPM: Fix = Fix {
    who: "npm, yarn, pnpm",
    what: "Do not start a service through a script runner. It runs the script in a shell, and the shell dies of the \
           signal without passing it on. Name the program instead.",
    example: &[r#"CMD ["node", "server.js"]"#],
};

pub(super) const NODE: Fix = Fix {
    who: "Node.js",
    what: "Handle the signal: stop to accept, finish what is open, end. Without a handler Node.js sends itself the \
           signal once more, and PID 1 is immune to that.",
    example: &["process.on('SIGTERM', () => server.close());"],
};

pub(super) const PYTHON: Fix = Fix {
    who: "Python",
    what: "Set a handler. Without one Python leaves SIGTERM to its default action, which PID 1 does not get. With \
           asyncio it is `loop.add_signal_handler(signal.SIGTERM, stop.set)`. Code that you cannot change may do with \
           `STOPSIGNAL SIGINT`: that raises KeyboardInterrupt.",
    example: &["signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"],
};

pub(super) const JAVA: Fix = Fix {
    who: "Java",
    what: "The JVM handles the signal by itself: it runs the shutdown hooks and exits with 143. Let it get the signal, \
           with `exec` in the start script, and do not take its handler away with `-Xrs`. Clean up in \
           `Runtime.getRuntime().addShutdownHook`.",
    example: &["exec java -jar app.jar"],
};

pub(super) const GO: Fix = Fix {
    who: "Go",
    what: "Ask for the signal with `signal.Notify` or `signal.NotifyContext`, and shut the server down when it comes. \
           Without it the Go runtime ends the process at once. Ship the built binary: `go run` does not pass the \
           signal on.",
    example: &[
        "ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)",
        "defer stop()",
        "<-ctx.Done()",
        "server.Shutdown(context.Background())",
    ],
};

pub(super) const NGINX: Fix = Fix {
    who: "nginx",
    what: "Stop it with SIGQUIT: it finishes its requests, where SIGTERM cuts them off. `worker_shutdown_timeout` bounds that. A start script ends with `exec nginx -g 'daemon off;'`.",
    example: &["STOPSIGNAL SIGQUIT"],
};

pub(super) const PHP_FPM: Fix = Fix {
    who: "php-fpm",
    what: "Stop it with SIGQUIT, and set `process_control_timeout` to less than the grace. SIGTERM ends the workers at \
           once, and so does SIGQUIT while that setting is 0.",
    example: &["STOPSIGNAL SIGQUIT"],
};

pub(super) const HAPROXY: Fix = Fix {
    who: "haproxy",
    what: "Stop it with SIGUSR1: it finishes its connections. SIGTERM is its hard stop.",
    example: &["STOPSIGNAL SIGUSR1"],
};

pub(super) const APACHE: Fix = Fix {
    who: "Apache httpd",
    what: "`apachectl` is a shell script: start the server itself, in the foreground. Stop it with SIGWINCH and it \
           finishes its requests.",
    example: &["STOPSIGNAL SIGWINCH", r#"CMD ["httpd", "-DFOREGROUND"]"#],
};

pub(super) const UWSGI: Fix = Fix {
    who: "uWSGI",
    what: "Tell it that SIGTERM means stop. Without this setting it means reload: new workers come, and nothing ends.",
    example: &["[uwsgi]", "die-on-term = true"],
};

pub(super) const POSTGRES: Fix = Fix {
    who: "PostgreSQL",
    what: "Stop it with SIGINT: it ends its sessions and shuts down. With SIGTERM it waits until every client has left.",
    example: &["STOPSIGNAL SIGINT"],
};

pub(super) const TINI: Fix = Fix {
    who: "Any other program",
    what: "Put a small init in front. It is PID 1 then, and for its child the default action of a signal works again: the program ends at once, without a clean-up. `docker run --init` does the same. It does not help a program below a shell.",
    example: &[r#"ENTRYPOINT ["tini", "--"]"#],
};

pub(super) const TINI_GROUP: Fix = Fix {
    who: "tini",
    what: "With `-g` it tells the whole process group, and not only its child; `TINI_KILL_PROCESS_GROUP=1` does so for `docker run --init`. It still ends together with its child. So that child must not be a plain shell: it dies of the signal at once, and the kernel kills the rest.",
    example: &[r#"ENTRYPOINT ["tini", "-g", "--"]"#],
};

pub(super) const TINI_WAIT: Fix = Fix {
    who: "tini, dumb-init",
    what: "They wait for their own child alone, then they end, and the kernel kills the rest. Let that child be the one \
           that waits for all others: the program itself, or a supervisor. Not a shell.",
    example: &[],
};

pub(super) const SUPERVISOR: Fix = Fix {
    who: "Supervisor",
    what: "Let it wait for its children for less than the grace and for longer than they need: `stopwaitsecs` in \
           supervisord, `--graceful-timeout` in gunicorn.",
    example: &[],
};

pub(super) const FASTER: Fix = Fix {
    who: "The program",
    what: "Look at what it does after the signal. Stop to accept first, bound every wait for others, and do not start \
           work that can be taken up again later.",
    example: &[],
};

pub(super) const MORE_GRACE: Fix = Fix {
    who: "Kubernetes",
    what: "Once you know how long it needs, give it that time in the pod's spec. With Docker it is `--stop-timeout`.",
    example: &["spec:", "  terminationGracePeriodSeconds: 60"],
};

pub(super) const STOP_SIGNAL: Fix = Fix {
    who: "Stop signal",
    what: "Name the signal that the program understands: with STOPSIGNAL in the Dockerfile, or with \
           `lifecycle.stopSignal` in the pod where the cluster has it; that one needs `spec.os.name`.",
    example: &["STOPSIGNAL SIGQUIT"],
};

pub(super) const PRESTOP: Fix = Fix {
    who: "Kubernetes",
    what: "The grace begins before the preStop hook. Make it as long as hook and shutdown together, or make the hook shorter. A hook that only waits for endpoints to go needs a few seconds.",
    example: &[
        "spec:",
        "  terminationGracePeriodSeconds: 45",
        "  containers:",
        "  - lifecycle: {preStop: {sleep: {seconds: 5}}}",
    ],
};

pub(super) const SIDECAR: Fix = Fix {
    who: "Sidecar",
    what: "A sidecar (an init container with `restartPolicy: Always`) gets its signal after the main containers have \
           ended, and only what they left of the grace. Let them end sooner, or give the pod more.",
    example: &[],
};

pub(super) const EARLY: Fix = Fix {
    who: "Kubernetes",
    what: "Endpoints still send requests for some seconds after the pod's deletion began. Keep serving while a preStop hook sleeps: the signal comes after it.",
    example: &["spec:", "  containers:", "  - lifecycle: {preStop: {sleep: {seconds: 5}}}"],
};

pub(super) const MEMORY: Fix = Fix {
    who: "Memory limit",
    what: "Leave room for the shutdown: raise `resources.limits.memory`, or free caches before state is written.",
    example: &[],
};

pub(super) const HANDLER_BUG: Fix = Fix {
    who: "Signal handler",
    what: "Set a flag or write to a pipe in it, and do the work in the main loop. Memory, locks and printing are not \
           safe in a handler.",
    example: &[],
};

pub(super) const NODE_SHUTDOWN: Fix = Fix {
    who: "kubelet",
    what: "Turn graceful node shutdown on in its configuration. The pods are then stopped first, each with a grace, before systemd signals what is left.",
    example: &["shutdownGracePeriod: 60s", "shutdownGracePeriodCriticalPods: 20s"],
};

pub(super) const AGENT: Fix = Fix {
    who: "signal-trace",
    what: "Look at `signal_trace_kernel_events_lost_total`, and run `signal-trace doctor` on the node: it names what is \
           missing.",
    example: &[],
};

pub(super) const STOPPER: Fix = Fix {
    who: "Who stops it",
    what: "If the program should have had a chance, stop it with time: `docker stop` instead of `docker kill`, a \
           timeout above 0, and a stop signal other than SIGKILL.",
    example: &["docker stop -t 10 NAME"],
};

pub(super) const POLICY: Fix = Fix {
    who: "Nothing to save",
    what: "Where there is nothing to clean up, this is fine: the program ended at once, and nobody waited.",
    example: &[],
};

pub(super) const HELPERS: Fix = Fix {
    who: "Helpers",
    what: "Programs that have nothing to lose, as `tail`, `sleep`, `ssh-agent` and `epmd`, are no fault to `check`, `top` and \
           `audit --records`; others are named in a policy, under `helpers`. Metrics and alerts count them all the same: \
           silence the alert for that workload.",
    example: &["helpers: [my-reader]"],
};

pub(super) const UNBLOCK: Fix = Fix {
    who: "The program",
    what: "A signal that is blocked waits until somebody reads it. Read it with `sigwait` or from a signalfd, in a \
           thread that lives as long as the process, or unblock it. A blocked mask is inherited: look at the parent too.",
    example: &[],
};

pub(super) const SIG_IGN: Fix = Fix {
    who: "The program",
    what: "Set a handler. If nobody in it ignores the signal, its parent did: an ignored signal stays ignored through \
           exec. Shells and `nohup` do that, with `trap '' TERM` for example.",
    example: &[],
};

pub(super) const FROZEN: Fix = Fix {
    who: "Node",
    what: "Look at what the process waited for: a paused container, a debugger, a network file system or a disk that \
           does not answer. More grace does not help.",
    example: &["cat /proc/PID/wchan"],
};

pub(super) const SESSION: Fix = Fix {
    who: "setsid, daemons",
    what: "A process that left its group or became a daemon is not reached by a signal to the group. Keep it in the \
           foreground, or tell it by its pid file.",
    example: &[],
};

pub(super) const REFUSED: Fix = Fix {
    who: "Kernel",
    what: "The last line of the agent's log names what is lacking: a capability that an admission policy took away, BTF, \
           cgroup v2. `helm test` asks the same question from a pod of its own.",
    example: &["helm test signal-trace -n signal-trace --logs"],
};

pub(super) const LET_IN: Fix = Fix {
    who: "Network policy",
    what: "Let the scraper in: name its namespace in `networkPolicy.from`, or leave that empty for everybody.",
    example: &[],
};

pub(super) const SCRAPE_JOB: Fix = Fix {
    who: "Prometheus",
    what: "Call the job `signal-trace`, as the chart's PodMonitor and `deploy/prometheus/scrape.yaml` do, and give the \
           PodMonitor the labels that your Prometheus selects.",
    example: &["podMonitor:", "  enabled: true", "  labels: { release: prometheus }"],
};

pub(super) const POD_SECURITY: Fix = Fix {
    who: "Pod security",
    what: "The host's pids, a host path and added capabilities are outside the baseline, so the namespace needs this label.",
    example: &["kubectl label namespace signal-trace \\", "  pod-security.kubernetes.io/enforce=privileged"],
};

pub(super) const CPU: Fix = Fix {
    who: "The agent",
    what: "Give it processor time: no CPU limit, a higher request, and the priority class that the chart has.",
    example: &["resources:", "  requests: { cpu: 50m }"],
};

pub(super) const CPU_LIMIT: Fix = Fix {
    who: "The limit",
    what: "`cpuLimit` is what the kernel programs and their reading may take of one processor, in percent; 0 is no bound. \
           Raise it where that cost is fair. Then make the pod anew: nothing else attaches the programs again.",
    example: &["agent:", "  config: { cpuLimit: 100 }"],
};

pub(super) const STORM: Fix = Fix {
    who: "The workload",
    what: "Find who forks: the dashboard `Node agent` shows the records by kind. Often it is a probe that starts a shell \
           every second, in many pods.",
    example: &[],
};

pub(super) const SWITCHED_OFF: Fix = Fix {
    who: "The switch",
    what: "Take the label off the node that keeps the agent away from it, if nobody needs it any more.",
    example: &["kubectl label node NODE signal-trace.dev/off-"],
};

pub(super) const LOG: Fix = Fix {
    who: "The node's log",
    what: "See that there is room on the disk of container logs, and that the runtime reads what the agent writes: `kubectl \
           logs` shows its newest lines.",
    example: &[],
};

pub(super) const SCOPE: Fix = Fix {
    who: "The bounds",
    what: "`docs/security.md` says how many of each there may be. They are far beyond what a kubelet runs: look for who makes \
           control groups or containers beside it.",
    example: &[],
};

pub(super) const READ_PODS: Fix = Fix {
    who: "Access",
    what: "Give the service account what the chart gives it: list and watch pods, get ReplicaSets and Jobs.",
    example: &["helm upgrade signal-trace ... --set rbac.create=true"],
};

pub(super) const WRITE_EVENTS: Fix = Fix {
    who: "Access",
    what: "Give the service account what the chart gives it: create and patch events of `events.k8s.io`. Or switch the \
           events off.",
    example: &["helm upgrade signal-trace ... --set rbac.create=true"],
};

pub(super) const API_SERVER: Fix = Fix {
    who: "API server",
    what: "The agent's log says what it answers. If it cannot be reached at all, the network policy may not name its port: \
           `networkPolicy.apiServerPorts`.",
    example: &[],
};

pub(super) const NETWORK_VOLUME: Fix = Fix {
    who: "Network volume",
    what: "Bring its server back: the process ends by itself then. If the server is gone for good, take the mount away by \
           force on the node.",
    example: &["umount -f -l PATH"],
};
