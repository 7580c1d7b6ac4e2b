package main

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/report"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// completionTimeout limits the time that the shell waits for a running ttydrain.
const completionTimeout = 2 * time.Second

// A completer returns the possible values of a flag or an argument of a command.
type completer func(c *cobra.Command) []cobra.Completion

// setCompletions adds the completion of flags and arguments to a command and those below it.
func setCompletions(c *cobra.Command) {
	for _, below := range c.Commands() {
		setCompletions(below)
	}
	flags := map[string]completer{
		"log-format": fixed("text", "json"), "role": fixed("all", "gateway", "enrich", "router"),
		"product": fixed("elasticsearch", "opensearch"), "drain": drainNames, "reason": letterReasons, "app": appNames, "stack": stackNames, "user": userNames, "operation": operationIDs,
		"context": contextNames, "use": contextNames,
	}
	add := func(f *pflag.Flag) {
		complete, ok := flags[f.Name]
		if f.Name == "output" {
			complete, ok = outputFormats(f.DefValue)
		}
		if ok {
			// Fails only if it is called twice for a flag.
			_ = c.RegisterFlagCompletionFunc(f.Name, func(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return complete(c), cobra.ShellCompDirectiveNoFileComp
			})
		}
		if f.Name == "config" {
			_ = c.MarkFlagFilename(f.Name, "yaml", "yml") // fails only without the flag
			_ = c.MarkPersistentFlagFilename(f.Name, "yaml", "yml")
		}
	}
	if !strings.HasPrefix(c.CommandPath(), "ttydrain deadletters ") { // elsewhere it is the operator's
		delete(flags, "reason")
	}
	if c.Name() == "init" { // whose --app and --user are new
		delete(flags, "app")
		delete(flags, "user")
	}
	c.LocalFlags().VisitAll(add)
	arguments := map[string]completer{
		"ttydrain drains test": drainNames, "ttydrain drains pause": drainNames, "ttydrain drains resume": drainNames, "ttydrain drains rewind": drainNames,
		"ttydrain sessions show": operationIDs, "ttydrain sessions kill": runningIDs, "ttydrain replay": operationIDs, "ttydrain export": operationIDs,
		"ttydrain deadletters show": letterNumbers, "ttydrain deadletters redeliver": letterNumbers, "ttydrain deadletters discard": letterNumbers,
		"ttydrain logout": contextNames,
	}
	complete, ok := arguments[c.CommandPath()]
	if !ok {
		return
	}
	several := c.CommandPath() == "ttydrain sessions kill"
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		given := func(v cobra.Completion) bool {
			value, _, _ := strings.Cut(v, "\t")
			return slices.Contains(args, value)
		}
		return slices.DeleteFunc(complete(c), given), cobra.ShellCompDirectiveNoFileComp
	}
}

// contextNames returns the saved contexts.
func contextNames(*cobra.Command) []cobra.Completion {
	names := make(choices)
	if saved, err := openContexts(); err == nil {
		for _, one := range saved.List {
			names.add(one.Name, one.Address)
		}
	}
	return names.sorted()
}

// outputFormats returns the values of --output, of which every command has one of these lists.
func outputFormats(byDefault string) (completer, bool) {
	for _, formats := range [][]cobra.Completion{{outputTable, outputJSON}, {formatCast, formatText, formatRecords}, {receiveText, outputJSON}, {docsPage, docsMarkdown}, {report.HTML, report.CSV, report.JSON}} {
		if formats[0] == byDefault {
			return fixed(formats...), true
		}
	}
	return nil, false
}

func fixed(values ...cobra.Completion) completer {
	return func(*cobra.Command) []cobra.Completion { return values }
}

// configured returns the configuration of a command; without one that has no mistakes, nothing is
// completed.
func configured(c *cobra.Command) *config.Config {
	path := "ttydrain.yaml"
	if f := c.Flag("config"); f != nil {
		path = f.Value.String()
	}
	cfg, err := config.Load(path)
	if err != nil {
		return new(config.Config)
	}
	return cfg
}

// drainNames returns the drains of the running ttydrain, and those of the configuration that it
// does not have.
func drainNames(c *cobra.Command) []cobra.Completion {
	var list []operate.DrainStatus
	query(c, "drains", &list)
	names := make(choices)
	for _, d := range list {
		names.add(d.Name, d.State)
	}
	for _, d := range configured(c).Drains {
		names.add(d.Name, d.Type)
	}
	return names.sorted()
}

// appNames returns the apps of the configuration, and those of the sessions of the running
// ttydrain.
func appNames(c *cobra.Command) []cobra.Completion {
	names := make(choices)
	for _, a := range configured(c).Apps {
		names.add(a.Name, "on stack "+a.Stack)
	}
	for _, s := range knownSessions(c) {
		names.add(s.App, "on stack "+s.Stack)
	}
	return names.sorted()
}

// stackNames is appNames for stacks.
func stackNames(c *cobra.Command) []cobra.Completion {
	names := make(choices)
	for _, s := range configured(c).Stacks {
		names.add(s.Name, "")
	}
	for _, s := range knownSessions(c) {
		names.add(s.Stack, "")
	}
	return names.sorted()
}

// userNames is appNames for the e-mail addresses of users.
func userNames(c *cobra.Command) []cobra.Completion {
	names := make(choices)
	for _, u := range configured(c).Users {
		names.add(u.Email, u.Name)
	}
	for _, s := range knownSessions(c) {
		names.add(s.User.Email, s.User.Name)
	}
	return names.sorted()
}

// choices are values with their descriptions.
type choices map[string]string

// add adds a value, unless it is there or empty.
func (k choices) add(value, about string) {
	if _, ok := k[value]; !ok && value != "" {
		k[value] = cell(about)
	}
}

func (k choices) sorted() (list []cobra.Completion) {
	for _, value := range slices.Sorted(maps.Keys(k)) {
		if about := k[value]; about != "" {
			value = cobra.CompletionWithDesc(value, about)
		}
		list = append(list, value)
	}
	return list
}

func knownSessions(c *cobra.Command) (list []operate.SessionStatus) {
	query(c, "sessions?all=true", &list)
	return list
}

// operationIDs returns the IDs of the sessions that a running ttydrain knows, the newest first.
func operationIDs(c *cobra.Command) []cobra.Completion { return sessionIDs(c, "sessions?all=true") }

// runningIDs returns the IDs of the running sessions.
func runningIDs(c *cobra.Command) []cobra.Completion { return sessionIDs(c, "sessions") }

func sessionIDs(c *cobra.Command, path string) (ids []cobra.Completion) {
	var list []operate.SessionStatus
	query(c, path, &list)
	for _, s := range list {
		ids = append(ids, cobra.CompletionWithDesc(s.Operation, cell(s.User.Name)+" on "+s.App+", "+timeflag.Format(s.Started)))
	}
	return ids
}

func letterNumbers(c *cobra.Command) (numbers []cobra.Completion) {
	var list []operate.Letter
	query(c, "deadletters", &list)
	for _, l := range list {
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.FormatUint(l.Number, 10), "of drain "+l.Drain))
	}
	return numbers
}

// letterReasons returns the reasons of the dead letters.
func letterReasons(c *cobra.Command) []cobra.Completion {
	var counts operate.LetterCounts
	query(c, "deadletters/counts", &counts)
	reasons := make(choices)
	for _, g := range counts.Groups {
		if cell(g.Reason) == g.Reason { // others can't be typed
			reasons.add(g.Reason, "of drain "+g.Drain)
		}
	}
	return reasons.sorted()
}

// query reads a list from a running ttydrain. If there is none, the list stays empty.
func query(c *cobra.Command, path string, list any) {
	flag := func(name string) string {
		if f := c.Flag(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	r := remote{config: flag("config"), address: flag("admin"), caFile: flag("admin-ca"), context: flag("context"), tokenFile: flag("token-file")}
	at, token, err := r.endpoint()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	api := adminclient.Client{Endpoint: at, Token: token}
	_, _ = api.Call(ctx, http.MethodGet, path, nil, list) // the shell completes nothing then
}
