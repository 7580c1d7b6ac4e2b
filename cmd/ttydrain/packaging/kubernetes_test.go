package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const manifestFolder = repository + "/cmd/ttydrain/kubernetes"

// An object is one of Kubernetes.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector    any
		PodSelector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		} `yaml:"podSelector"`
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	SecurityContext struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
	} `yaml:"securityContext"`
	InitContainers []podContainer `yaml:"initContainers"`
	Containers     []podContainer
	Volumes        []struct{ Name string }
}

type podContainer struct {
	Name            string
	Args            []string
	SecurityContext struct {
		ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
		Capabilities           struct{ Drop []string }
	} `yaml:"securityContext"`
	LivenessProbe  probe                   `yaml:"livenessProbe"`
	ReadinessProbe probe                   `yaml:"readinessProbe"`
	VolumeMounts   []struct{ Name string } `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}

// manifests returns the objects of all manifests, and the paths of their files.
func manifests(t *testing.T) (objects []object, files []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifestFolder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Resources []string }
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, name := range list.Resources {
		file := filepath.Join(manifestFolder, name)
		files = append(files, file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var o object
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			objects = append(objects, o)
		}
	}
	return objects, files
}

// TestManifests validates the manifests against the schemas of Kubernetes, strictly.
func TestManifests(t *testing.T) {
	t.Parallel()
	need(t, "kubernetes-validate")
	_, files := manifests(t)
	if out, err := exec.Command("kubernetes-validate", append([]string{"--strict", "-k", "1.34"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPods checks what no schema can: selectors select pods, mounts have volumes, and containers are
// confined.
func TestPods(t *testing.T) {
	t.Parallel()
	objects, _ := manifests(t)
	var pods []map[string]string
	for _, o := range objects {
		spec := o.Spec.Template.Spec
		if len(spec.Containers) == 0 {
			continue
		}
		pods = append(pods, o.Spec.Template.Metadata.Labels)
		if !spec.SecurityContext.RunAsNonRoot {
			t.Errorf("%s may run as root", o.Metadata.Name)
		}
		for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
			if !c.SecurityContext.ReadOnlyRootFilesystem || !slices.Equal(c.SecurityContext.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("%s: container %s is not confined", o.Metadata.Name, c.Name)
			}
			for _, m := range c.VolumeMounts {
				if m.Name != "data" && !slices.ContainsFunc(spec.Volumes, func(v struct{ Name string }) bool { return v.Name == m.Name }) {
					t.Errorf("%s: container %s mounts %s, which is no volume", o.Metadata.Name, c.Name, m.Name)
				}
			}
			if slices.Contains(c.Args, "serve") && (c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz") {
				t.Errorf("%s: the probes are %+v and %+v", o.Metadata.Name, c.LivenessProbe, c.ReadinessProbe)
			}
		}
	}
	if len(pods) != 5 {
		t.Errorf("found %d kinds of pods, expected 5", len(pods))
	}
	checked := 0
	for _, o := range objects {
		labels := o.Spec.PodSelector.MatchLabels
		if s, ok := o.Spec.Selector.(map[string]any); ok {
			if inner, ok := s["matchLabels"].(map[string]any); ok {
				s = inner
			}
			labels = make(map[string]string)
			for k, v := range s {
				labels[k], _ = v.(string)
			}
		}
		if len(labels) == 0 {
			continue
		}
		checked++
		if !slices.ContainsFunc(pods, func(pod map[string]string) bool {
			for k, v := range labels {
				if pod[k] != v {
					return false
				}
			}
			return true
		}) {
			t.Errorf("%s %s selects no pod: %v", o.Kind, o.Metadata.Name, slices.Collect(maps.Keys(labels)))
		}
	}
	if checked < 10 {
		t.Errorf("found %d selectors, expected more", checked)
	}
}

// TestKubernetesConfiguration has `ttydrain check` accept the configurations, with the files that the
// pods of the role have.
func TestKubernetesConfiguration(t *testing.T) {
	t.Parallel()
	packages(t)
	binary, keys := filepath.Join(releases.dir, "ttydrain"), t.TempDir()
	if out, err := exec.Command(binary, "keys", "make", keys, "--server", "nats-1,nats-2,nats-3").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	common := read(filepath.Join(manifestFolder, "config/ttydrain.yaml"))
	if !strings.HasPrefix(read(filepath.Join(manifestFolder, "config/gateway.yaml")), common) {
		t.Error("gateway.yaml does not begin with ttydrain.yaml")
	}
	for _, test := range []struct {
		role, config string
		files        map[string]string
	}{
		{"gateway", "gateway.yaml", map[string]string{"host_key": "host_key", "document_key.pem": "document_key.pem",
			"docker-ca.pem": "ca.pem", "docker-cert.pem": "gateway.pem", "docker-key.pem": "gateway.key"}},
		{"enrich", "ttydrain.yaml", map[string]string{"document_key.pem": "document_key.pem"}},
		{"router", "ttydrain.yaml", map[string]string{"gap_key.pem": "gap_key.pem"}},
		{"admin", "ttydrain.yaml", nil},
	} {
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files := map[string]string{"ca.pem": "ca.pem", "admin_token": "admin_token",
			"role.nk": test.role + ".nk", "role.pem": test.role + ".pem", "role.key": test.role + ".key"}
		maps.Copy(files, test.files)
		for to, from := range files {
			write(to, read(filepath.Join(keys, from)))
		}
		config := read(filepath.Join(manifestFolder, "config", test.config))
		write("ttydrain.yaml", strings.ReplaceAll(strings.ReplaceAll(config, "/run/secrets/", dir+"/"), "/tmp/ttydrain/", dir+"/socket/"))
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "ada")).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
		if out, err := exec.Command(binary, "check", "-c", filepath.Join(dir, "ttydrain.yaml")).CombinedOutput(); err != nil {
			t.Errorf("%s: check: %v\n%s", test.role, err, out)
		}
	}
}
