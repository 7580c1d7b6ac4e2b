package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/trail"
)

// TestTrail: each kind of event comes from its action, with the actor; and nothing is done that
// can't be recorded.
func TestTrail(t *testing.T) {
	s := newStage(t, 0, false, false)
	at := `{"to": "2026-01-31T09:30:00Z"}`
	tests := map[trail.Kind]struct{ as, method, path, body string }{
		trail.SessionKill:         {"token", "POST", "sessions/kill", `{"operations": ["9"], "asked_by": "Grace"}`},
		trail.SessionWatch:        {"Ada", "GET", "sessions/7/live", ""},
		trail.SessionReplay:       {"Ada", "GET", "sessions/7/cast", ""},
		trail.SessionRead:         {"token", "GET", "sessions/7/text", ""},
		trail.RecordsExport:       {"token", "GET", "segments?operation=7", ""},
		trail.DrainPause:          {"token", "POST", "drains/siem/pause", "{}"},
		trail.DrainResume:         {"token", "POST", "drains/siem/resume", "{}"},
		trail.DrainTest:           {"token", "POST", "drains/siem/test", `{"asked_by": "Grace"}`},
		trail.DrainRewind:         {"token", "POST", "drains/siem/rewind", at},
		trail.DeadLetterShow:      {"token", "GET", "deadletters/1", ""},
		trail.DeadLetterRedeliver: {"token", "POST", "deadletters/1/redeliver", "{}"},
		trail.DeadLetterDiscard:   {"token", "DELETE", "deadletters/1", ""},
		trail.ConsoleLink:         {"token", "POST", "console/links", `{"name": "ada"}`},
	}
	list := func(query string) (events []trail.Event) {
		t.Helper()
		r := s.ask("token", "GET", "audit?"+query, "")
		data, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(data, &events); err != nil {
			t.Fatalf("%s: %s: %v", r.Status, data, err)
		}
		return events
	}
	for _, kind := range trail.Kinds() {
		test, ok := tests[kind]
		if !ok {
			t.Errorf("no action makes an event of the kind %s", kind)
			continue
		}
		r := s.ask(test.as, test.method, test.path, test.body)
		if kind != trail.SessionWatch { // which has no end
			io.Copy(io.Discard, r.Body)
		}
		events := list("kind=" + string(kind))
		if len(events) == 0 || events[0].Outcome != trail.Accepted || events[0].Actor == "" || events[0].From != "127.0.0.1" {
			t.Errorf("%s: %s made the events %+v", kind, r.Status, events)
			continue
		}
		if failed := r.StatusCode >= http.StatusBadRequest; failed != (len(events) == 2) || failed && (events[1].Outcome != trail.Failed || events[1].Status != r.StatusCode) {
			t.Errorf("%s: %s made the events %+v", kind, r.Status, events)
		}
	}
	all := list("")
	if len(all) < len(trail.Kinds()) {
		t.Fatalf("%d events", len(all))
	}
	for i, e := range all {
		if e.Index != uint64(i)+1 {
			t.Errorf("event %d has the index %d", i+1, e.Index)
		}
	}
	if page := list("after=1&limit=2"); len(page) != 2 || page[0].Index != 2 {
		t.Errorf("a page: %+v", page)
	}
	if by := list("actor=grace"); len(by) == 0 || by[0].Actor != "Grace" {
		t.Errorf("of an actor: %+v", by)
	}
	if late := list("since=" + "2999-01-01T00:00:00Z"); len(late) != 0 {
		t.Errorf("events of the future: %+v", late)
	}
	if got := list("kind=x"); len(got) != 0 {
		t.Errorf("an unknown kind: %+v", got)
	}
	before := len(all)
	if r := s.ask("wrong", "POST", "drains/siem/pause", "{}"); r.StatusCode != http.StatusUnauthorized || len(list("limit=1000")) != before {
		t.Errorf("a caller without a token is in the trail: %s", r.Status)
	}
	s.bus.Close()
	for path, body := range map[string]string{"console/links": `{"name": "ada"}`, "sessions/kill": `{"operations": ["9"]}`} {
		r := s.ask("token", "POST", path, body)
		if data, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusBadGateway || !strings.Contains(string(data), "could not be recorded") {
			t.Errorf("%s without a record: %s %s", path, r.Status, data)
		}
	}
}
