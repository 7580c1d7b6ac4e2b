package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ttydrain.yaml")
	key, err := os.ReadFile("testdata/keys/ada.pub")
	if err != nil {
		t.Fatal(err)
	}
	text := "gateway:\n  listen: 127.0.0.1:2222\nadmin: {hosts: [a.example.com]}\nuser_document: {issuer: https://auth.example.com}\n" +
		"users: [{id: a, name: a, email: a@b, authorized_keys: [\"" + string(key[:len(key)-1]) + "\"], apps: [web]}]\n" +
		"stacks: [{name: default}]\napps: [{name: web, stack: default}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"gateway.listen": ":2:11: gateway.listen",
		"admin.listen":   ":3:8: admin.listen", // not in the file: the mapping
		"store":          ":1:1: store",
	} {
		if got := c.Place(setting); got != path+want {
			t.Errorf("%s: %s, want %s", setting, got, path+want)
		}
	}
}
