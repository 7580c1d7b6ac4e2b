package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

func newSessionsCommand() *cobra.Command {
	r := new(remote)
	c := &cobra.Command{Use: "sessions", Short: "Show and end sessions", Args: cobra.NoArgs}
	r.flags(c)
	c.AddCommand(newSessionsListCommand(r), newSessionsShowCommand(r), newSessionsKillCommand(r))
	return c
}

func newSessionsListCommand(r *remote) *cobra.Command {
	var app, user, stack string
	var ended bool
	var times timeflag.Range
	c := &cobra.Command{Use: "list", Short: "List the running sessions, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"app": {app}, "user": {user}, "stack": {stack}}
			if ended {
				q.Set("all", "true")
			}
			if err := rangeQuery(q, &times); err != nil {
				return err
			}
			var list []operate.SessionStatus
			if printed, err := r.call(c.Context(), http.MethodGet, "sessions?"+q.Encode(), nil, &list); printed || err != nil {
				return err
			}
			return printSessions(list)
		}}
	f := c.Flags()
	f.StringVar(&app, "app", "", "only those on the app with this `NAME`")
	f.StringVar(&user, "user", "", "only those of the user with this `ID` or e-mail address")
	f.StringVar(&stack, "stack", "", "only those on the stack with this `NAME`")
	f.BoolVar(&ended, "all", false, "including those that have ended")
	rangeFlags(c, &times, "only those that began")
	return c
}

func newSessionsShowCommand(r *remote) *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show one session", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var s operate.SessionStatus
			if printed, err := r.call(c.Context(), http.MethodGet, "sessions/"+url.PathEscape(args[0]), nil, &s); printed || err != nil {
				return err
			}
			return printSession(&s)
		}}
}

// killCommand holds the flags of one run of `sessions kill`.
type killCommand struct {
	remote  *remote
	request operate.KillRequest
	sure    confirmation
}

func newSessionsKillCommand(r *remote) *cobra.Command {
	k := killCommand{remote: r}
	c := &cobra.Command{
		Use:   "kill ID...|--app APP|--user USER",
		Short: "End sessions, with everything that they started",
		Long: "Ends sessions, with everything that they started, on any gateway of a cluster, and waits until their ends are\n" +
			"recorded. The user is shown the name of the operator and the reason, which are also in the end record.\n\n" +
			"It lists the sessions and asks before it ends them: with --app and --user all running ones. Exits with 1 if a session\n" +
			"is unknown, or its end was not confirmed within half a minute: it ends as soon as its gateway answers.",
		Example: "  ttydrain sessions kill 42 --reason \"the incident is over\"\n  ttydrain sessions kill --app web --yes",
		RunE: func(c *cobra.Command, args []string) error {
			k.request.Operations = args
			return k.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&k.request.App, "app", "", "all on the app with this `NAME`")
	f.StringVar(&k.request.User, "user", "", "all of the user with this `ID` or e-mail address")
	f.StringVar(&k.request.Because, "reason", "", "`TEXT` that is shown to the user and recorded")
	k.sure.flag(c)
	return c
}

func (k *killCommand) run(ctx context.Context) error {
	all := k.request.App != "" || k.request.User != ""
	if all == (len(k.request.Operations) > 0) {
		return usageError{errors.New("expected either the IDs of sessions, or --app APP or --user USER: \"ttydrain sessions list\" lists them")}
	}
	if !k.sure.yes {
		if err := k.confirm(ctx); err != nil {
			return err
		}
	}
	k.request.By = requester()
	var results []operate.KillResult
	printed, err := k.remote.call(ctx, http.MethodPost, "sessions/kill", k.request, &results)
	if err != nil {
		return err
	}
	failed := false
	for _, s := range results {
		failed = failed || s.Result == operate.KillUnconfirmed || s.Result == operate.KillUnknown
		if !printed {
			fmt.Println(killedLine(s))
		}
	}
	if len(results) == 0 && !printed {
		fmt.Println("no such session runs")
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

// killedLine returns the result for one session.
func killedLine(s operate.KillResult) string {
	about := fmt.Sprintf("session %s of %s on %s", s.Operation, cell(s.User.Name), s.App)
	switch s.Result {
	case operate.KillDone:
		return about + ": ended"
	case operate.KillLate:
		return about + ": had ended before, " + s.Reason
	case operate.KillUnconfirmed:
		return about + ": its gateway " + s.Gateway + " has not confirmed the end; the session ends as soon as that gateway answers"
	}
	return "session " + s.Operation + ": not there; \"ttydrain sessions list --all\" lists them"
}

// confirm lists the sessions that would end, and asks for confirmation.
func (k *killCommand) confirm(ctx context.Context) error {
	list, err := k.ending(ctx)
	if len(list) == 0 || err != nil { // the results of the command say why
		return err
	}
	if k.request.App != "" || k.request.User != "" {
		// Only the listed sessions end, not those that start meanwhile.
		k.request.App, k.request.User = "", ""
		for _, s := range list {
			k.request.Operations = append(k.request.Operations, s.Operation)
		}
	}
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "session %s of %s on %s, since %s\n", s.Operation, cell(s.User.Name), s.App, timeflag.Format(s.Started))
	}
	question := "End this session"
	if len(list) > 1 {
		question = fmt.Sprintf("End these %d sessions", len(list))
	}
	return k.sure.ask(ctx, b.String(), question)
}

// ending returns the running sessions that the request selects.
func (k *killCommand) ending(ctx context.Context) ([]operate.SessionStatus, error) {
	if len(k.request.Operations) == 0 {
		q := url.Values{"app": {k.request.App}, "user": {k.request.User}}
		var list []operate.SessionStatus
		_, err := k.remote.quiet().call(ctx, http.MethodGet, "sessions?"+q.Encode(), nil, &list)
		return list, err
	}
	var list []operate.SessionStatus
	for _, id := range k.request.Operations {
		var s operate.SessionStatus
		_, err := k.remote.quiet().call(ctx, http.MethodGet, "sessions/"+url.PathEscape(id), nil, &s)
		if refused, ok := errors.AsType[*adminclient.Error](err); ok && refused.Status == http.StatusNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.State != operate.SessionEnded {
			list = append(list, s)
		}
	}
	return list, nil
}

func printSessions(list []operate.SessionStatus) error {
	if len(list) == 0 {
		return printNone("sessions match")
	}
	w := newTable()
	fmt.Fprintln(w, "SESSION\tSTATE\tUSER\tADDRESS\tLOGIN\tAPP\tSTACK\tGATEWAY\tSTARTED\tEXPIRES\tENDED\tBYTES\tREASON")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Operation, s.State, cell(s.User.Name), s.Address, s.Method, s.App, s.Stack, s.Gateway,
			timeflag.Format(s.Started), timeflag.Format(s.Expires), timeflag.Format(s.Ended), s.Bytes, s.Reason)
	}
	return w.Flush()
}

func printSession(s *operate.SessionStatus) error {
	w := newTable()
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	line("session", s.Operation)
	line("state", s.State)
	line("user", cell(s.User.Name+" <"+s.User.Email+"> "+s.User.ID))
	line("app", s.App)
	line("stack", s.Stack)
	line("gateway", s.Gateway)
	line("container", s.Container)
	line("command", cell(s.Command))
	line("address", s.Address)
	line("client", cell(s.Client))
	line("login", s.Method)
	line("key", s.Key)
	line("serial", s.Serial)
	line("CA", s.CA)
	line("terminal", map[bool]string{true: "yes", false: "no"}[s.Interactive])
	line("started", timeflag.Format(s.Started))
	line("expires", timeflag.Format(s.Expires))
	line("ended", timeflag.Format(s.Ended))
	line("reason", s.Reason)
	line("ended by", s.EndedBy)
	line("because", s.EndedBecause)
	if s.ExitStatus != nil {
		line("exit status", fmt.Sprint(*s.ExitStatus))
	}
	line("bytes", fmt.Sprint(s.Bytes))
	return w.Flush()
}

// cell returns a text for a cell of a table, in one line and without hidden characters.
func cell(text string) string {
	return shown(strings.Join(strings.FieldsFunc(client.Printable(text), func(r rune) bool { return r == '\n' || r == '\t' }), " "))
}
