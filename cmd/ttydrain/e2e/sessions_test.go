package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/operate"
)

// sessions runs `ttydrain sessions` for a server.
func (v *server) sessions(args ...string) result {
	v.site.t.Helper()
	return runTo(v.site.t, v.sessionsCommand(args...))
}

func (v *server) sessionsCommand(args ...string) *exec.Cmd {
	args = append([]string{"sessions", args[0], "-c", v.site.config, "--admin", v.admin}, args[1:]...)
	return exec.Command(v.site.program, args...)
}

// listed returns the sessions of a list.
func (v *server) listed(args ...string) (list []operate.SessionStatus) {
	t := v.site.t
	t.Helper()
	r := v.sessions(append([]string{"list", "--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || r.status != 0 {
		t.Fatalf("sessions list %q: %d, %v\n%s%s", args, r.status, err, r.stdout, r.stderr)
	}
	return list
}

// killed returns the results of `sessions kill`.
func (v *server) killed(status int, args ...string) (results []operate.KillResult) {
	t := v.site.t
	t.Helper()
	r := v.sessions(append([]string{"kill", "--yes", "--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &results); err != nil || r.status != status {
		t.Fatalf("sessions kill %q: %d, %v\n%s%s", args, r.status, err, r.stdout, r.stderr)
	}
	return results
}

// TestSessions lists, shows and ends sessions: by ID, by app and by user.
func TestSessions(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "ndjson", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(d.entry))
	v := site.serve()
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	mark := fmt.Sprint(200000000 + os.Getpid())
	shell.do("setsid sleep " + mark + " &")
	await(t, "for the session's daemon", func() bool { return running(t, mark) })

	list := v.listed()
	if len(list) != 1 {
		t.Fatalf("%d sessions are listed", len(list))
	}
	s := list[0]
	if s.State != operate.SessionRunning || s.App != "web" || s.Stack != "default" || s.User.ID != "u-1" || s.Gateway == "" || !s.Interactive || !s.Ended.IsZero() ||
		s.Expires.Sub(s.Started).Hours() != 7*24 {
		t.Errorf("listed as %+v", s)
	}
	for args, want := range map[string]int{"--app web": 1, "--app api": 0, "--user u-1": 1, "--user ADA@example.com": 1, "--user u-2": 0, "--stack default": 1, "--stack x": 0} {
		if got := v.listed(strings.Fields(args)...); len(got) != want {
			t.Errorf("%s: %d are listed", args, len(got))
		}
	}
	for _, want := range []string{"state", "running", "Ada Lovelace <ada@example.com> u-1"} {
		if r := v.sessions("show", s.Operation); r.status != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("show: %+v", r)
		}
	}
	if r := v.sessions("show", "999999"); r.status != 1 || !strings.Contains(r.stderr, "does not exist") {
		t.Errorf("show of none: %+v", r)
	}
	for _, args := range [][]string{{"kill"}, {"kill", "1", "--app", "web"}} {
		if r := v.sessions(args...); r.status != 2 || !strings.Contains(r.stderr, "--app") {
			t.Errorf("%q: %+v", args, r)
		}
	}

	results := v.killed(0, s.Operation, "--reason", "the incident\x1b[2J is over")
	if len(results) != 1 || results[0].Result != operate.KillDone || results[0].Reason != "killed" {
		t.Errorf("killed: %+v", results)
	}
	shown, status := shell.wait()
	if status != 128+9 {
		t.Errorf("the client ended with %d", status)
	}
	says := "\r\nttydrain: this session was ended by " + requester(t) + ": the incident [2J is over\r\n"
	if !strings.Contains(string(shown), says) {
		t.Errorf("%q is not in what the person saw: %q", says, shown)
	}
	await(t, "for the session's processes to end", func() bool { return !running(t, mark) })
	got := d.transcript(t, s.Operation)
	mustBe(t, d.name, "the session that was killed", got.shown, shown)
	mustBeValid(t, got.records)
	if got.end.Reason != "killed" || !strings.Contains(got.end.Whole, fmt.Sprintf(`"ended_by":%q`, requester(t))) || !strings.Contains(got.end.Whole, `"ended_because":"the incident [2J is over"`) {
		t.Errorf("the end is %s", got.end.Whole)
	}
	if list := v.listed(); len(list) != 0 {
		t.Errorf("listed after the end: %+v", list)
	}
	if list := v.listed("--all"); len(list) != 1 || list[0].State != operate.SessionEnded || list[0].Bytes != uint64(len(shown)) || list[0].EndedBy != requester(t) {
		t.Errorf("listed after the end: %+v", list)
	}
	if results := v.killed(1, s.Operation, "999999"); results[0].Result != operate.KillLate || results[1].Result != operate.KillUnknown {
		t.Errorf("killed again: %+v", results)
	}

	// All of an app, of a user: with a question on a terminal, refused without one.
	for _, by := range []string{"--app=web", "--user=u-1"} {
		first, second := inTerminal(t, v.openssh(site.key, "web@127.0.0.1")), inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
		first.expect(prompt)
		second.expect(prompt)
		quiet := v.sessionsCommand("kill", by)
		quiet.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if r := runTo(t, quiet); r.status != 2 || !strings.Contains(r.stderr, "--yes") {
			t.Errorf("without a terminal: %+v", r)
		}
		asked := inTerminal(t, v.sessionsCommand("kill", by))
		asked.expect("End these 2 sessions (yes/no)? ")
		asked.press("no\r")
		if _, status := asked.wait(); status != 1 || len(v.listed()) != 2 {
			t.Errorf("no: status %d, %d sessions are left", status, len(v.listed()))
		}
		asked = inTerminal(t, v.sessionsCommand("kill", by))
		asked.expect("(yes/no)? ")
		asked.press("yes\r")
		if shown, status := asked.wait(); status != 0 || strings.Count(string(shown), ": ended") != 2 {
			t.Errorf("yes: status %d, %q", status, shown)
		}
		for _, s := range []*terminal{first, second} {
			if shown, status := s.wait(); status != 128+9 || !strings.Contains(string(shown), "this session was ended by "+requester(t)+"\r\n") {
				t.Errorf("a session ended with %d: %q", status, shown)
			}
		}
	}
	// Closing the window of the terminal ends the session, with everything in it. The window belongs
	// to script: the kernel takes the terminal from the client when script exits.
	client := v.openssh(site.key, "web@127.0.0.1")
	closed := inTerminal(t, exec.Command(need(t, "script"), "-qc", "exec '"+strings.Join(client.Args, "' '")+"'", "/dev/null"))
	closed.expect(prompt)
	closed.do("setsid sleep " + mark + " &")
	await(t, "for the session's daemon", func() bool { return running(t, mark) })
	closed.cmd.Process.Kill()
	await(t, "for the session's processes to end", func() bool { return !running(t, mark) })
	await(t, "for the end to be recorded", func() bool { return len(v.listed()) == 0 })
	if last := v.listed("--all")[0]; last.Reason != "disconnect" {
		t.Errorf("the session is recorded as %+v", last)
	}
	if r := v.sessions("kill", "--app", "web", "--yes"); r.status != 0 || r.stdout != "no such session runs\n" {
		t.Errorf("nothing to end: %+v", r)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestExpiry: a session with continuous output ends at its expiry; so does an idle one.
func TestExpiry(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "ndjson", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(d.entry))
	site.edit("plan: growth", "plan: growth, session_duration: 3s")
	v := site.serve()
	for _, command := range []string{"while :; do echo still here; sleep 0.001; done", "sleep 10000"} {
		got := runTo(t, v.openssh(site.key, "-tt", "web@127.0.0.1", command))
		const says = "\r\nttydrain: this session has reached the end of its time and was ended\r\n"
		if got.status != 128+9 || !strings.HasSuffix(got.stdout, says) {
			t.Errorf("%s: status %d, shown at last %q", command, got.status, got.stdout[max(0, len(got.stdout)-200):])
		}
		end := d.transcript(t, operationOf(t, []byte(got.stdout))).end
		if end.Reason != "expired" {
			t.Errorf("%s: the end has the reason %q", command, end.Reason)
		}
	}
}

// TestOneSlotOfACluster: of ten sessions that start at once on two gateways, one starts with a plan
// of one. The others name it. It can be ended from any part of the cluster, and the slot of a
// killed gateway is free again.
func TestOneSlotOfACluster(t *testing.T) {
	t.Parallel()
	nats := bustest.Start(t, natsFiles+"nkeys.conf", nil)
	site := newClusterSite(t, nats, func(user string) string { return fmt.Sprintf("nkey_seed_file: %q", nats.Seeds[user]) }, withoutRaces)
	for _, user := range []string{"gateway", "enrich", "router"} {
		text, err := os.ReadFile(site.file(user))
		if err != nil {
			t.Fatal(err)
		}
		site.write(site.file(user), strings.Replace(string(text), "plan: growth", "plan: starter", 1))
	}
	text, err := os.ReadFile(site.file("gateway"))
	if err != nil {
		t.Fatal(err)
	}
	site.write(site.file("gateway-2"), strings.Replace(string(text), "127.0.0.1:0", "127.0.0.2:0", 1))
	site.apply()
	one := site.role("gateway")
	site.config = site.file("gateway-2")
	two := site.serve("--role", "gateway")
	enricher, router := site.role("enrich"), site.role("router")

	var wg sync.WaitGroup
	refused := make(chan result, 10)
	for i := range 10 {
		v, host := one, "127.0.0.1"
		if i%2 == 1 {
			v, host = two, "127.0.0.2"
		}
		cmd := v.openssh(site.key, "web@"+host, "echo in; exec sleep 10000")
		wg.Go(func() { refused <- runTo(t, cmd) }) // ends with the client
	}
	var left []operate.SessionStatus
	for range 9 {
		r := <-refused
		if r.status != 255 || r.stdout != "" || !strings.Contains(r.stderr, "the stack default may have one session at a time (plan starter)") ||
			!strings.Contains(r.stderr, "Ada Lovelace <ada@example.com> on web, since ") || !strings.Contains(r.stderr, "ttydrain sessions kill ") {
			t.Errorf("refused with %+v", r)
		}
	}
	for name, v := range map[string]*server{"a gateway": one, "the other gateway": two, "the enricher": enricher, "the router": router} {
		if left = v.listed(); len(left) != 1 || left[0].State != operate.SessionRunning {
			t.Fatalf("%s lists %+v", name, left)
		}
	}
	if results := enricher.killed(0, left[0].Operation); results[0].Result != operate.KillDone {
		t.Errorf("killed by the enricher: %+v", results)
	}
	if r := <-refused; r.status != 128+9 || r.stdout != "in\n" || !strings.Contains(r.stderr, "this session was ended by "+requester(t)) {
		t.Errorf("the one that started: %+v", r)
	}
	wg.Wait()

	shell := inTerminal(t, one.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	again := func() result { return runTo(t, two.openssh(site.key, "web@127.0.0.2", "echo in")) }
	if r := again(); r.status != 255 {
		t.Errorf("beside the one session: %+v", r)
	}
	one.signal(syscall.SIGKILL)
	one.status()
	shell.wait()
	var last result
	await(t, "for the slot of the gateway that was killed", func() bool { last = again(); return last.status == 0 })
	for _, v := range []*server{two, enricher, router} {
		if status := v.stop(); status != 0 {
			t.Errorf("a part ended with %d", status)
		}
	}
	if refused := nats.Refused(); len(refused) > 0 {
		t.Errorf("the server refused what ttydrain needs:\n%s", strings.Join(refused, "\n"))
	}
}

// TestApps: users are shown the apps that they may open, and no others.
func TestApps(t *testing.T) {
	t.Parallel()
	site := newSite(t, withoutRaces)
	v := site.serve()
	ssh := func(key string, args ...string) result {
		t.Helper()
		return runTo(t, exec.Command(site.program, append([]string{"ssh", "--address", v.ssh, "-i", key, "--known-hosts", site.dir + "/hosts", "--accept-new"}, args...)...))
	}
	ssh(site.key, "true") // knows the host from now on
	if r := ssh(site.key, "echo $0; exit 3"); r.status != 3 || r.stdout != "/bin/bash\n" {
		t.Errorf("one app: %+v", r)
	}
	if r := runTo(t, v.openssh(site.key, "?@127.0.0.1")); r.status != 0 || r.stdout != "web\n" || r.stderr != "" {
		t.Errorf("the list of one app: %+v", r)
	}
	stranger := site.newKey("eve")
	for _, app := range []string{"?", "web", "nothing"} {
		r := runTo(t, v.openssh(stranger, app+"@127.0.0.1"))
		if r.status != 255 || r.stdout != "" || !strings.Contains(r.stderr, "Permission denied") {
			t.Errorf("a stranger asks for %s: %+v", app, r)
		}
	}
	if r := ssh(stranger, "true"); r.status != 255 || strings.Contains(r.stderr, "web") || !strings.Contains(r.stderr, "none of these keys may use any app") {
		t.Errorf("a stranger: %+v", r)
	}
	v.reload("ok", func() { site.edit("apps: [web]", "apps: [api, web]") })
	if r := ssh(site.key, "true"); r.status != 2 || r.stdout != "" || !strings.Contains(r.stderr, ":\n  web\n  api\n") || !strings.Contains(r.stderr, "--app") {
		t.Errorf("several apps: %+v", r)
	}
	if r := ssh(site.key, "--app", "api", "echo in"); r.status != 0 || r.stdout != "in\n" {
		t.Errorf("one of several apps: %+v", r)
	}
	if r := runTo(t, v.openssh(site.key, "?@127.0.0.1", "echo in")); r.status != 255 || r.stdout != "" || !strings.Contains(r.stderr, "web\napi\n") {
		t.Errorf("a command on no app: %+v", r)
	}
	if list := v.listed("--all", "--app", "?"); len(list) != 0 {
		t.Errorf("the lists are sessions: %+v", list)
	}
}
