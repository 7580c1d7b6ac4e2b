package e2e

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
)

// TestConfirmations: what removes something or interrupts a service says how much, and asks. It
// does nothing after a no, and is refused without a terminal, unless --yes is set.
func TestConfirmations(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "siem", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(d.entry, refusingDrain(t, "picky", http.StatusBadRequest, "a field is missing", "all green")))
	v := site.serve()
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	shell.do("echo all green")
	if got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo all green")); got.status != 0 {
		t.Fatalf("a session: %+v", got)
	}
	await(t, "for two dead letters", func() bool { return len(v.letters("picky")) > 1 })
	await(t, "for the delivery", func() bool {
		s := v.drainStatus("siem")
		return s.State == schema.DrainDelivering && s.LagRecords == 0 && !s.LagAtLeast
	})
	session := v.listed()[0].Operation
	paused := func() bool { return v.drainStatus("siem").State == schema.DrainPaused }

	for _, test := range []struct {
		command, says, question, done string
		isDone                        func() bool
	}{
		{"drains rewind siem --operation " + session, "drain siem gets ", "Rewind drain siem (yes/no)? ", "drain siem: rewound", nil},
		{"drains pause siem", "drain siem is delivering, with ", "Pause drain siem (yes/no)? ", "drain siem: paused", paused},
		{"deadletters discard 1", "drain picky will never get 1 record: record ", "Discard this record (yes/no)? ", "dead letter 1: discarded",
			func() bool {
				return !slices.ContainsFunc(v.letters("picky"), func(l operate.Letter) bool { return l.Number == 1 })
			}},
		{"deadletters discard --drain picky", "drain picky will never get ", "Discard ", ": discarded", func() bool { return len(v.letters("picky")) == 0 }},
		{"sessions kill " + session, "session " + session + " of Ada Lovelace on web, since 20", "End this session (yes/no)? ", ": ended",
			func() bool { return len(v.listed()) == 0 }},
	} {
		command := func(more ...string) *exec.Cmd {
			args := append(strings.Fields(test.command), "-c", site.config, "--admin", v.admin)
			return exec.Command(site.program, append(args, more...)...)
		}
		quiet := command()
		quiet.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if r := runTo(t, quiet); r.status != 2 || r.stdout != "" || !strings.Contains(r.stderr, test.says) || !strings.Contains(r.stderr, "set --yes") {
			t.Errorf("%s without a terminal: %+v", test.command, r)
		}
		asked := inTerminal(t, command())
		asked.expect(test.says)
		asked.expect(test.question)
		asked.press("no\r")
		if shown, status := asked.wait(); status != 1 || !strings.Contains(string(shown), "nothing was done") {
			t.Errorf("%s, no: status %d, %q", test.command, status, shown)
		}
		if test.isDone != nil && test.isDone() {
			t.Errorf("%s was done after a no", test.command)
		}
		asked = inTerminal(t, command())
		asked.expect(test.question)
		asked.press("yes\r")
		if shown, status := asked.wait(); status != 0 || !strings.Contains(string(shown), test.done) {
			t.Errorf("%s, yes: status %d, %q", test.command, status, shown)
		}
		if test.isDone != nil {
			await(t, test.command, test.isDone)
		}
	}
	// A mistake is reported without a question, and so is what has nothing to confirm.
	for command, says := range map[string]string{
		"drains pause nobody": "no drain has this name", "drains rewind nobody --to 1h": "no drain has this name",
		"drains rewind siem": "expected either --to TIME or --operation ID", "sessions kill 999999": "not there",
	} {
		r := runTo(t, exec.Command(site.program, append(strings.Fields(command), "-c", site.config, "--admin", v.admin)...))
		if r.status == 0 || !strings.Contains(r.stdout+r.stderr, says) {
			t.Errorf("%s: %+v", command, r)
		}
	}
}
