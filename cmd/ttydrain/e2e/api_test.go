package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// token returns the admin token of the site's server.
func (s *site) token() string {
	s.t.Helper()
	token, err := os.ReadFile(filepath.Join(s.store, "admin_token"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}

// TestAPI tests the admin API against its own OpenAPI document with schemathesis: requests that the
// document allows and others, with and without the token. No response may have a status, a type or
// a body that the document does not have, and no request that it forbids may succeed.
func TestAPI(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	if err := exec.Command(python, "-c", "import schemathesis").Run(); err != nil {
		absent(t, "Python has no schemathesis: pip install schemathesis")
	}
	drain := httpsDrain(t, "siem", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(drain.entry, refusingDrain(t, "picky", 400, "a field is missing", "refuse this")))
	v := site.serve()
	got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo refuse this"))
	if got.status != 0 {
		t.Fatalf("a session: %+v", got)
	}
	await(t, "for a dead letter", func() bool { return len(v.letters("picky")) > 0 })

	config := filepath.Join(site.dir, "schemathesis.toml")
	site.write(config, fmt.Sprintf(apiSettings, operationOf(t, []byte(got.stderr)), v.letters("picky")[0].Number))
	fuzz := exec.Command(python, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file", config, "--no-color", "run", "http://"+v.admin+"/api/openapi.json",
		"--header", "Authorization: Bearer "+site.token(), "--seed", "1", "--max-examples", "20", "--request-timeout", "60",
		"--continue-on-failure", "--warnings", "off")
	fuzz.Dir = t.TempDir() // it keeps files in its folder
	tested := runTo(t, fuzz)
	if tested.status != 0 {
		t.Errorf("schemathesis: status %d\n%s%s", tested.status, tested.stdout, tested.stderr)
	}
	if n := testedOperations.FindStringSubmatch(tested.stdout); n == nil || n[1] != n[2] || n[2] != n[3] || len(n[1]) < 2 {
		t.Errorf("schemathesis has not tested every operation:\n%s", tested.stdout)
	}
}

// testedOperations are the numbers of operations that schemathesis has selected, found and tested.
var testedOperations = regexp.MustCompile(`Selected: (\d+)/(\d+)\s+Tested: (\d+)\n`)

// TestAPIDocument checks that the OpenAPI document is valid.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	if err := exec.Command(python, "-c", "import openapi_spec_validator").Run(); err != nil {
		absent(t, "Python has no openapi_spec_validator: pip install openapi-spec-validator")
	}
	c := exec.Command(python, "-c", "import json, sys, openapi_spec_validator as v; v.OpenAPIV31SpecValidator(json.load(sys.stdin)).validate()")
	c.Stdin = strings.NewReader(ttydrain(t, "schema", "api").stdout)
	if got := runTo(t, c); got.status != 0 {
		t.Errorf("the document is not valid: %s%s", got.stdout, got.stderr)
	}
	c = exec.Command(python, c.Args[1:]...)
	c.Stdin = strings.NewReader(strings.Replace(ttydrain(t, "schema", "api").stdout, `"summary"`, `"sumary"`, 1))
	if got := runTo(t, c); got.status == 0 {
		t.Error("a document with an unknown field is valid")
	}
}

// apiSettings are the settings of schemathesis, with the ID of a session and the number of a dead
// letter.
const apiSettings = `
[checks]
ignored_auth.enabled = false # after ten wrong tokens, the status is 429: TestUnauthenticated

[[operations]]
include-operation-id = "readSegments"
parameters = { follow = "false" } # or its response would not end

[[operations]]
include-operation-id = ["showSession", "replaySession", "readSession", "watchSession"]
parameters = { id = %q }

[[operations]]
include-operation-id = ["showDeadLetter", "redeliverDeadLetter"]
parameters = { number = %d }

[[operations]]
include-operation-id = ["killSessions", "createLoginLink"]
checks = { positive_data_acceptance.enabled = false } # a schema cannot say which characters are visible

[[operations]]
include-operation-id = "redeliverDeadLetter"
checks = { not_a_server_error.enabled = false } # the drain refuses the record again: 502
`

// TestAPIExamples runs the examples of api.md, one after another in one shell.
func TestAPIExamples(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	need(t, "jq")
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	script, n := "", 0
	for _, block := range codeBlocks.FindAllStringSubmatch(string(page), -1) {
		if block[1] == "sh run" {
			script += block[2]
			n++
		}
	}
	if n < 7 {
		t.Errorf("found %d examples, expected more", n)
	}
	drain := httpsDrain(t, "siem", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(drain.entry))
	v := site.serve()
	if got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo shown")); got.status != 0 {
		t.Fatalf("a session: %+v", got)
	}
	await(t, "for the session's end", func() bool { return len(v.listed("--all")) == 1 && len(v.listed()) == 0 })
	await(t, "for the drain's state", func() bool { return bytes.Contains(v.operate("drains", "list"), []byte(`"delivering"`)) })
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	c := exec.Command("bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "127.0.0.1:9464", v.admin))
	c.Dir = site.dir
	got := runTo(t, c)
	if got.status != 0 {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	for _, want := range []string{`"name": "siem"`, "siem: delivering", "\ntrue\n{}\n{}\n{}\n", "\n401\n", "\nrefused\n", "1 web ended", "2 web running", "  shown\n", "\nended\n", "event: done"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the output does not have %q:\n%s", want, got.stdout)
		}
	}
}
