package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// published returns the IDs of the keys that serve publishes.
func (v *server) published() (ids []string) {
	v.site.t.Helper()
	_, body := v.get("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		v.site.t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			v.site.t.Fatal("a private key is published")
		}
		ids = append(ids, k.KeyID)
	}
	return ids
}

// A listedKey is a key in the output of the commands.
type listedKey struct {
	ID, Algorithm, State string
	Retired              *time.Time
}

// keys runs `ttydrain keys`.
func (s *site) keys(command string) (keys []listedKey) {
	s.t.Helper()
	got := ttydrain(s.t, "keys", command, "-c", s.config, "--output", "json")
	if err := json.Unmarshal([]byte(got.stdout), &keys); err != nil || got.status != 0 {
		s.t.Fatalf("keys %s: %v %+v", command, err, got)
	}
	return keys
}

// TestKeysRotate rotates the signing key of a running serve: later signatures are by the new key,
// and PyJWT verifies both.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	if err := exec.Command(python, "-c", "import jwt, cryptography").Run(); err != nil {
		absent(t, "Python has no PyJWT: pip install pyjwt cryptography")
	}
	drain := httpsDrain(t, "siem", "")
	v := newSite(t, withDrains(drain.entry), withAlgorithm("ES256")).serve()
	session := func() (document, end string) {
		t.Helper()
		got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "echo $APTIBLE_USER_DOCUMENT"))
		s := drain.transcript(t, operationOf(t, []byte(got.stderr)))
		if got.stdout != s.end.UserDocument+"\n" {
			t.Errorf("the session's document is %q, that of its records %q", got.stdout, s.end.UserDocument)
		}
		return s.end.UserDocument, s.end.Signature
	}
	var tokens, ids []string
	for range 3 {
		document, end := session()
		tokens = append(tokens, document, end)
		listed := v.site.keys("list")
		ids = append(ids, listed[0].ID, listed[0].ID)
		if published := v.published(); published[0] != listed[0].ID || len(published) != len(listed) {
			t.Errorf("published are %q, listed %+v", published, listed)
		}
		rotated := v.site.keys("rotate")
		if len(rotated) != len(listed)+1 || rotated[0].State != "active" || rotated[0].Algorithm != "ES256" || rotated[0].ID == listed[0].ID ||
			rotated[1].ID != listed[0].ID || rotated[1].State != "retired" || rotated[1].Retired == nil {
			t.Fatalf("from %+v to %+v", listed, rotated)
		}
		await(t, "for serve to use the new key", func() bool { return v.published()[0] == rotated[0].ID })
	}
	got := runTo(t, exec.Command(python, append([]string{"testdata/document/client.py", "http://" + v.admin + "/.well-known/jwks.json"}, tokens...)...))
	if verified := strings.Fields(got.stdout); got.status != 0 || !slices.Equal(verified, ids) {
		t.Errorf("PyJWT verified with the keys %q, expected %q: %s", verified, ids, got.stderr)
	}
	// There are only the two files, for this user to read, and no private key in the second.
	for _, name := range []string{"document_key.pem", "document_key.pem.retired.json"} {
		info, err := os.Stat(filepath.Join(v.site.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(v.site.dir, ".key-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	data, err := os.ReadFile(filepath.Join(v.site.dir, "document_key.pem.retired.json"))
	if err != nil || strings.Contains(string(data), `"d"`) {
		t.Errorf("the retired keys: %v %s", err, data)
	}
	// A missing key is not created while ttydrain runs: the one in force goes on signing.
	before := v.published()
	v.reload(reloadRefused, func() { os.Remove(filepath.Join(v.site.dir, "document_key.pem")) })
	if document, _ := session(); document == "" || !slices.Equal(v.published(), before) {
		t.Errorf("without the file, published are %q", v.published())
	}
	if table := ttydrain(t, "keys", "rotate", "-c", v.site.config); table.status != 1 || !strings.Contains(table.stderr, "no such file") {
		t.Errorf("rotate without a key: %+v", table)
	}
}

// TestMetadata has the platform's variables in the environment of a session, and no others.
func TestMetadata(t *testing.T) {
	t.Parallel()
	v := newSite(t, withEnv("APTIBLE_LAYER", "app's own"), withEnv("APTIBLE_GIT_REF", "abc"), withGateway(`, accept_env: ["*"]`),
		withSettings("api_url: https://api.example.com/")).serve()
	cmd := v.openssh(v.site.key, "-o", "SendEnv=APTIBLE_* LC_X", "web@127.0.0.1", "env")
	cmd.Env = append(cmd.Env, "APTIBLE_PROCESS_TYPE=forged", "APTIBLE_CONTAINER_PROFILE=forged", "LC_X=sent")
	got := runTo(t, cmd)
	lines := strings.Split(got.stdout, "\n")
	operation := operationOf(t, []byte(got.stderr))
	for _, want := range []string{
		"APTIBLE_LAYER=app", "APTIBLE_PROCESS_TYPE=web", "APTIBLE_CONTAINER_SIZE=1024", "APTIBLE_GIT_REF=abc", "LC_X=sent",
		"APTIBLE_APP_HREF=https://api.example.com/apps/app-7",
		"APTIBLE_EPHEMERAL_SESSION_HREF=https://api.example.com/ephemeral_sessions/" + operation,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(got.stdout, "forged") || !strings.Contains(got.stdout, "APTIBLE_USER_DOCUMENT=ey") {
		t.Errorf("the environment is %s", got.stdout)
	}
}
