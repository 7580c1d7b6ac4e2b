package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
)

// A route is an operation of the HTTP API: what the OpenAPI document says about it, and its
// handler.
type route struct {
	openapi.Operation
	handler http.HandlerFunc
}

// The groups of operations.
const (
	tagSessions    = "sessions"
	tagDrains      = "drains"
	tagDeadLetters = "dead letters"
	tagRecords     = "records"
	tagAudit       = "audit trail"
	tagServer      = "server"
)

// The security schemes.
const (
	schemeToken   = "token"
	schemeSession = "session"
)

// routes returns all operations, except for those of the console's pages.
func (o *Options) routes(a *api) []route {
	return append(o.publicRoutes(), a.routes()...)
}

// publicRoutes returns the operations that need no authentication.
func (o *Options) publicRoutes() []route {
	public := func(id, path, summary, about string, result openapi.Result, handler http.HandlerFunc, refusals map[int]string) route {
		return route{openapi.Operation{ID: id, Tag: tagServer, Method: http.MethodGet, Path: path, Summary: summary, About: about,
			Result: result, TextRefusals: refusals}, handler}
	}
	const text = "text/plain"
	return []route{
		public("health", "/healthz", "Report that the process is up",
			"For liveness probes.", openapi.Result{About: "The process is up.", Type: text}, o.health, nil),
		public("ready", "/readyz", "Report whether the process can do its work",
			"All listeners and streams work. For readiness probes and load balancers.",
			openapi.Result{About: "The process is ready.", Type: text}, o.ready,
			map[int]string{http.StatusServiceUnavailable: "The process is not ready. The text says why."}),
		public("metrics", "/metrics", "Return the metrics for Prometheus",
			"The response is in another format if the request accepts one (OpenMetrics, protobuf).",
			openapi.Result{About: "The metrics, in the text format of Prometheus.", Type: text}, promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}).ServeHTTP, nil),
		public("keys", "/.well-known/jwks.json", "Return the public keys of the signatures",
			"The keys of user documents and of the ends of sessions (RFC 7517).",
			openapi.Result{About: "The key set.", Type: "application/jwk-set+json", Headers: map[string]string{"Cache-Control": "how long the keys may be cached"}},
			o.keys, map[int]string{http.StatusNotFound: "The process has no keys.", http.StatusInternalServerError: "The keys could not be encoded."}),
	}
}

func (o *Options) health(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (o *Options) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := o.Ready(ctx); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (o *Options) keys(w http.ResponseWriter, r *http.Request) {
	if o.JWKS == nil {
		http.NotFound(w, r)
		return
	}
	set, err := o.JWKS()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Write(set)
}

// routes returns the operations that need authentication.
func (a *api) routes() []route {
	describe := openapi.Operation{ID: "describe", Tag: tagServer, Method: http.MethodGet, Path: "/api/openapi.json", Summary: "Return this document",
		About: "`ttydrain schema api` prints it without a server.", Result: openapi.Result{About: "The OpenAPI document.", Value: document{}}}
	link := openapi.Operation{ID: "createLoginLink", Tag: tagServer, Method: http.MethodPost, Path: "/api/v1/console/links", Summary: "Create a link that logs in to the console",
		About: "The link logs a user in once. A process without the console answers 404, and one whose console does not accept the token 403.",
		Body:  linkRequest{}, Example: `{"name": "ada"}`, Result: openapi.Result{About: "The link.", Value: LoginLink{}},
		Refusals: append([]int{http.StatusNotFound}, bodyRefusals...), Security: []string{schemeToken}}
	all := []route{
		a.json(describe, "", func(*http.Request) (any, error) { return json.RawMessage(OpenAPI()), nil }),
		a.json(link, "created a login link", a.audit(trail.ConsoleLink, a.newLink)),
	}
	all = slices.Concat(all, a.sessionRoutes(), a.drainRoutes(), a.letterRoutes(), a.recordRoutes(), a.auditRoutes())
	needs := permissions()
	for i := range all {
		r := &all[i]
		need := needs[r.ID]
		r.handler = needing(need, r.handler)
		r.About = strings.TrimSpace(r.About + " Roles: " + role.Sentence(need) + ".")
	}
	return all
}

// The parameters that several operations have.
var (
	app   = openapi.Parameter{Name: "app", About: "only of this app"}
	stack = openapi.Parameter{Name: "stack", About: "only of this stack"}
)

// bodyRefusals are the statuses of refused bodies.
var bodyRefusals = []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

func (a *api) sessionRoutes() []route {
	user := openapi.Parameter{Name: "user", About: "only of this user: an ID or an e-mail address"}
	recorded := func(id, part, summary, about string, result openapi.Result, refusals ...int) openapi.Operation {
		return openapi.Operation{ID: id, Tag: tagSessions, Method: http.MethodGet, Path: "/api/v1/sessions/{id}/" + part,
			Summary: summary, About: about, Result: result, Refusals: append(refusals, http.StatusNotFound)}
	}
	return []route{
		a.json(openapi.Operation{ID: "listSessions", Tag: tagSessions, Method: http.MethodGet, Path: "/api/v1/sessions", Summary: "List sessions",
			About: "The newest come first. For pages, set `limit`, and `before` to the last ID of the page before.",
			Query: []openapi.Parameter{app, stack, user,
				{Name: "all", Kind: openapi.Boolean, About: "also ended sessions"},
				{Name: "text", About: "words, each of which occurs in the status, in upper or lower case"},
				{Name: "since", Kind: openapi.Time, About: "only sessions that began at this time or later"},
				{Name: "until", Kind: openapi.Time, About: "only sessions that began before this time"},
				{Name: "before", About: "only sessions older than the one with this ID"},
				{Name: "limit", Kind: openapi.Count, About: "the maximum number of sessions"}},
			Result: openapi.Result{About: "The sessions.", Value: []operate.SessionStatus{}}}, "", a.listSessions),
		a.json(openapi.Operation{ID: "showSession", Tag: tagSessions, Method: http.MethodGet, Path: "/api/v1/sessions/{id}", Summary: "Return the status of a session",
			Result: openapi.Result{About: "The session.", Value: operate.SessionStatus{}}, Refusals: []int{http.StatusNotFound}}, "", a.showSession),
		a.json(openapi.Operation{ID: "killSessions", Tag: tagSessions, Method: http.MethodPost, Path: "/api/v1/sessions/kill", Summary: "End sessions",
			About: "Returns when each session has ended, or after half a minute. The status is 200 even if an end is not confirmed: see `result`. " +
				"For the running sessions of an app or a user, use `app`, `user` or both instead of `operations`.",
			Body: operate.KillRequest{}, Example: `{"operations": ["42"], "asked_by": "ada", "reason": "maintenance at noon"}`,
			Result:   openapi.Result{About: "One result a session, in the order of the request; with `app` or `user`, the newest first.", Value: []operate.KillResult{}},
			Refusals: bodyRefusals}, "", a.killSessions), // logs by itself
		a.output(recorded("replaySession", "cast", "Return the output of a session as asciicast", "",
			openapi.Result{About: "The output so far, as asciicast v2: a header and one event a line.", Type: "application/x-asciicast"}), "replayed a session", trail.SessionReplay, a.cast),
		a.output(recorded("readSession", "text", "Return the output of a session as text", "",
			openapi.Result{About: "One line a record: its time and its text.", Type: "text/plain"}), "read a session", trail.SessionRead, a.text),
		a.output(recorded("watchSession", "live", "Follow the output of a running session",
			"Server-sent events. First an object with `cols`, `rows` and `time`, then events of asciicast v2 as arrays: the output so far (the last 2 MiB), "+
				"and new output as it appears. The event `done` marks the end of the session; without it, the response was cut off. "+
				"A comment every 15 seconds keeps the connection open.",
			openapi.Result{About: "The events.", Type: "text/event-stream"}, http.StatusConflict), "watched a session", trail.SessionWatch, a.live),
	}
}

func (a *api) drainRoutes() []route {
	operation := func(id, verb, summary, about string, result openapi.Result) openapi.Operation {
		return openapi.Operation{ID: id, Tag: tagDrains, Method: http.MethodPost, Path: "/api/v1/drains/{name}/" + verb, Summary: summary, About: about,
			Result: result, Refusals: []int{http.StatusNotFound}}
	}
	nothing := openapi.Result{About: "It is done.", Value: done{}}
	test := operation("testDrain", "test", "Test the connection to a drain",
		"Writes a record to the drain that says that it is a test. The status is 200 even if the test fails: see `ok`. It can take two minutes.",
		openapi.Result{About: "The steps of the test.", Value: drain.Report{}})
	test.Body, test.BodyOptional, test.Example, test.Refusals = testRequest{}, true, `{"asked_by": "ada"}`, append(test.Refusals, bodyRefusals...)
	rewind := operation("rewindDrain", "rewind", "Deliver records to a drain again",
		"Redelivers what was enriched at a time or later, or everything from the first record of a session on.", nothing)
	rewind.Body, rewind.Example = rewindRequest{}, `{"to": "2026-01-31T09:30:00Z"}`
	rewind.Refusals = append(append(rewind.Refusals, http.StatusConflict), bodyRefusals...)
	plan := operation("planRewind", "rewind/plan", "Count what a rewind would deliver again, or skip",
		"Nothing is changed.", openapi.Result{About: "The consequences.", Value: operate.RewindPlan{}})
	plan.Body, plan.Example, plan.Refusals = rewindRequest{}, rewind.Example, append(plan.Refusals, bodyRefusals...)
	return []route{
		a.json(plan, "", a.routed(a.planRewind)),
		a.json(openapi.Operation{ID: "listDrains", Tag: tagDrains, Method: http.MethodGet, Path: "/api/v1/drains", Summary: "List the drains and their status",
			Result: openapi.Result{About: "The drains, in the order of the configuration.", Value: []operate.DrainStatus{}}, Refusals: []int{http.StatusNotFound}},
			"", a.routed(a.drains)),
		a.json(operation("pauseDrain", "pause", "Suspend delivery to a drain",
			"A pause outlasts restarts. Records remain in the stream until the retention ends.", nothing), "paused a drain", a.routed(a.audit(trail.DrainPause, a.pause))),
		a.json(operation("resumeDrain", "resume", "Resume delivery to a drain",
			"It also tries a drain again that is gone.", nothing), "resumed a drain", a.routed(a.audit(trail.DrainResume, a.resume))),
		a.json(test, "tested a drain", a.routed(a.test)),
		a.json(rewind, "rewound a drain", a.routed(a.rewind)),
	}
}

// letterParameters are the parameters that select dead letters: see letterFilter.
func letterParameters() []openapi.Parameter {
	return []openapi.Parameter{{Name: "drain", About: "only of the drain with this name"},
		{Name: "reason", About: "only those with exactly this reason"},
		{Name: "since", Kind: openapi.Time, About: "only those that were refused at this time or later"},
		{Name: "until", Kind: openapi.Time, About: "only those that were refused before this time"},
		{Name: "after", Kind: openapi.Count, About: "only dead letters after this number"}}
}

func (a *api) letterRoutes() []route {
	letter := func(id, method, rest, summary, about string, result openapi.Result, refusals ...int) openapi.Operation {
		return openapi.Operation{ID: id, Tag: tagDeadLetters, Method: method, Path: "/api/v1/deadletters/{number}" + rest, Summary: summary, About: about,
			Result: result, Refusals: append(refusals, http.StatusNotFound)}
	}
	nothing := openapi.Result{About: "It is done.", Value: done{}}
	last := openapi.Parameter{Name: "last", Kind: openapi.Count, About: "only dead letters up to this number"}
	required := last
	required.Required = true
	bulk := func(id, verb, summary, about string) openapi.Operation {
		return openapi.Operation{ID: id, Tag: tagDeadLetters, Method: http.MethodPost, Path: "/api/v1/deadletters/" + verb, Summary: summary,
			About: about + " It works for some seconds: while the response has `next`, repeat the request with `after` set to it. " +
				"`last` of the counts keeps dead letters out that came later. A dead letter that fails remains, and does not stop the others.",
			Query: append(letterParameters(), required), Result: openapi.Result{About: "How many were done and failed.", Value: operate.BulkResult{}}, Refusals: []int{http.StatusNotFound}}
	}
	return []route{
		a.json(openapi.Operation{ID: "countDeadLetters", Tag: tagDeadLetters, Method: http.MethodGet, Path: "/api/v1/deadletters/counts", Summary: "Count dead letters by drain and reason",
			About: "The most come first. It counts for some seconds: if the response has `next`, repeat the request with `after` set to it, and add the counts.",
			Query: append(letterParameters(), last), Result: openapi.Result{About: "The counts.", Value: operate.LetterCounts{}}, Refusals: []int{http.StatusNotFound}},
			"", a.routed(a.countLetters)),
		a.json(bulk("redeliverDeadLetters", "redeliver", "Deliver many dead letters again", "Removes each dead letter when its drain has accepted the record."),
			"redelivered dead letters", a.routed(a.redeliverAll)),
		a.json(bulk("discardDeadLetters", "discard", "Remove many dead letters", "Their drains never receive the records."), "discarded dead letters", a.routed(a.discardAll)),
		a.json(openapi.Operation{ID: "listDeadLetters", Tag: tagDeadLetters, Method: http.MethodGet, Path: "/api/v1/deadletters", Summary: "List dead letters",
			About:  "The oldest come first, at most 1,000 of them, without the records. For pages, set `limit`, and `after` to the last number of the page before.",
			Query:  append(letterParameters(), last, openapi.Parameter{Name: "limit", Kind: openapi.Count, About: "the maximum number of dead letters"}),
			Result: openapi.Result{About: "The dead letters.", Value: []operate.Letter{}}, Refusals: []int{http.StatusNotFound}}, "", a.routed(a.letters)),
		a.json(letter("showDeadLetter", http.MethodGet, "", "Return a dead letter with its record", "",
			openapi.Result{About: "The dead letter.", Value: letterWithRecord{}}), "viewed a dead letter", a.routed(a.audit(trail.DeadLetterShow, a.letter))),
		a.json(letter("redeliverDeadLetter", http.MethodPost, "/redeliver", "Deliver a dead letter again",
			"Removes the dead letter when the drain has accepted the record.", nothing, http.StatusConflict), "redelivered a dead letter", a.routed(a.audit(trail.DeadLetterRedeliver, a.redeliver))),
		a.json(letter("discardDeadLetter", http.MethodDelete, "", "Remove a dead letter",
			"The drain never receives its record.", nothing), "discarded a dead letter", a.routed(a.audit(trail.DeadLetterDiscard, a.discard))),
	}
}

func (a *api) recordRoutes() []route {
	segments := openapi.Operation{ID: "readSegments", Tag: tagRecords, Method: http.MethodGet, Path: "/api/v1/segments", Summary: "Return recorded segments",
		About: "For tools that read records in ttydrain's own form, such as `ttydrain export` and `ttydrain tail`. Each segment is preceded by its sequence on the stream " +
			"and by its length, both as uvarint. The response ends with the sequence 0, the length of an error, and the error; the length is 0 if the response is complete. " +
			"Without this end, the response was cut off.",
		Query: []openapi.Parameter{{Name: "operation", About: "only of the session with this ID"}, app, stack,
			{Name: "since", Kind: openapi.Time, About: "without segments that were recorded before this time"},
			{Name: "from", Kind: openapi.Now, About: "`now`: without segments that exist already"},
			{Name: "after", Kind: openapi.Integer, About: "only segments after this sequence on the stream"},
			{Name: "follow", Kind: openapi.Boolean, About: "continue with new segments"}},
		Result: openapi.Result{About: "The segments.", Type: "application/octet-stream",
			Headers: map[string]string{schema.HeaderSegments: "the number of segments; with `follow`, of those that existed at the start"}},
		Refusals: []int{http.StatusNotFound}, Security: []string{schemeToken}}
	return []route{a.segments(segments)}
}
