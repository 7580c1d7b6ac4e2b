package syslogtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Divided are the parameters of the session element that the parts of a record divide, in their
// order after the text.
var Divided = []string{"command", "reason", "ended_by", "ended_because", "path", "input_base64",
	"signature", "log_base64", "timing"}

// A Joiner joins the parts of records, in the order in which connections carry them. It is stricter
// than readers of copies are: the first arrivals are in order, and parts repeat all else.
type Joiner struct {
	open map[string]*joining // by operation and sequence
	done map[string]bool     // the records that were joined
}

type joining struct {
	whole *Parsed
	total string
	next  int
	at    int // the offset that the next part has to have
}

// Add takes a message. It returns the record's message once all parts of it are there, and nil
// before.
func (j *Joiner) Add(p *Parsed) (*Parsed, error) {
	session := p.Params["session@32473"]
	part, ok := session["part"]
	if !ok {
		return p, nil
	}
	number, total, ok := strings.Cut(part, "/")
	n, err := strconv.Atoi(number)
	if err != nil || !ok {
		return nil, fmt.Errorf("part is %q", part)
	}
	lead, text, ok := strings.Cut(p.Text, "part="+part+" ")
	if !ok || !strings.HasSuffix(lead, "operation_id="+p.ProcID+" ") {
		return nil, fmt.Errorf("part %s is not in MSG: %q", part, p.Text)
	}
	if j.open == nil {
		j.open, j.done = make(map[string]*joining), make(map[string]bool)
	}
	key := session["operation_id"] + " " + session["sequence"]
	size := len(text)
	for _, name := range Divided {
		size += len(session[name])
	}
	size -= base64Overhead(session["log_base64"]) + base64Overhead(session["input_base64"])
	open := j.open[key]
	switch {
	case open != nil && n < open.next, open == nil && j.done[key] && n > 1:
		return nil, nil // a repeat, since a connection ended
	case open == nil && n == 1:
		p.Text = lead + text
		open = &joining{whole: p, total: total, next: 1}
		j.open[key] = open
	}
	if open == nil || open.next != n || open.total != total || strconv.Itoa(open.at) != session["part_offset"] {
		return nil, fmt.Errorf("part %s at %s of record %s does not continue %+v", part, session["part_offset"], key, open)
	}
	open.next++
	open.at += size
	if n > 1 {
		if err := open.join(p, text); err != nil {
			return nil, err
		}
	}
	if number != total {
		return nil, nil
	}
	delete(j.open, key)
	j.done[key] = true
	delete(open.whole.Params["session@32473"], "part")
	delete(open.whole.Params["session@32473"], "part_offset")
	return open.whole, nil
}

// base64Overhead is how many more characters than bytes there are in base64.
func base64Overhead(s string) int {
	return len(s) - (len(s)/4*3 - strings.Count(s, "="))
}

func (j *joining) join(p *Parsed, text string) error {
	w := j.whole
	if p.Priority != w.Priority || !p.Timestamp.Equal(w.Timestamp) || p.Hostname != w.Hostname || p.App != w.App || p.ProcID != w.ProcID || p.MsgID != w.MsgID {
		return fmt.Errorf("the header of a part differs: %+v, %+v", p, w)
	}
	w.Text += text
	all, session := w.Params["session@32473"], p.Params["session@32473"]
	for name, value := range session {
		switch {
		case slices.Contains(Divided, name):
			all[name] += value
		case name == "part" || name == "part_offset":
		case all[name] != value:
			return fmt.Errorf("%s is %q in one part and %q in another", name, all[name], value)
		}
	}
	if p.Params["meta"]["sequenceId"] != w.Params["meta"]["sequenceId"] {
		return fmt.Errorf("the parts have several sequenceIds")
	}
	return nil
}
