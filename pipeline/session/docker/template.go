package docker

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// template holds the settings that sessions' containers inherit from the app's.
type template struct {
	image  string // a name, or the ID of the exact image
	env    []string
	user   string
	dir    string
	labels map[string]string
	host   container.HostConfig // with the app's limits
	// noNetwork reports that the app's container was created without a network.
	noNetwork bool
	// first is the network that the container is created with, nil if the mode determines it;
	// further networks are connected later, because before API 1.44 a container can be created with
	// only one.
	first   *networkEnd
	further []networkEnd
}

type networkEnd struct {
	name     string
	endpoint *network.EndpointSettings
}

// templateOf returns the settings of the app's container that a session's inherits: those that
// identify something and those that restrict, but none that grant access, such as volumes, ports,
// devices, capabilities or privileges.
func templateOf(app *container.InspectResponse) (*template, error) {
	if app.Config == nil || app.HostConfig == nil {
		return nil, errors.New("the Docker daemon returned no configuration of the app")
	}
	h := app.HostConfig
	confined, err := confinementOf(h)
	if err != nil {
		return nil, err
	}
	t := &template{
		image: app.Image, env: app.Config.Env, user: app.Config.User, dir: app.Config.WorkingDir, labels: app.Config.Labels,
		host: confined, noNetwork: app.Config.NetworkDisabled,
	}
	t.host.NetworkMode, t.host.ExtraHosts = h.NetworkMode, h.ExtraHosts
	t.host.DNS, t.host.DNSOptions, t.host.DNSSearch = h.DNS, h.DNSOptions, h.DNSSearch
	if !h.NetworkMode.IsUserDefined() || app.NetworkSettings == nil {
		return t, nil // host, none, another container's, or the default one
	}
	for _, name := range slices.Sorted(maps.Keys(app.NetworkSettings.Networks)) {
		// The app's address and names stay the app's.
		end := networkEnd{name, &network.EndpointSettings{}}
		if e := app.NetworkSettings.Networks[name]; e != nil {
			end.endpoint.DriverOpts, end.endpoint.GwPriority = e.DriverOpts, e.GwPriority
		}
		if name == h.NetworkMode.NetworkName() {
			t.first = &end
		} else {
			t.further = append(t.further, end)
		}
	}
	if t.first == nil && len(t.further) > 0 { // the mode is the network's ID, or the app has left that network
		t.first, t.further = &t.further[0], t.further[1:]
		t.host.NetworkMode = container.NetworkMode(t.first.name)
	}
	return t, nil
}

// labelOneOff is the label by which Docker Compose distinguishes the containers of a service
// ("False") from those of "docker-compose run" ("True"). With the app's value, a session would
// count as a container of the service, and be ended when there is one too many.
const labelOneOff = "com.docker.compose.oneoff"

// createOptions returns the options for a session's container.
func (r *Runtime) createOptions(t *template, spec session.Spec) client.ContainerCreateOptions {
	command := spec.Command
	if spec.CommandLine != "" {
		command = []string{spec.Command[0], "-c", spec.CommandLine}
	}
	labels := maps.Clone(t.labels)
	maps.DeleteFunc(labels, func(name, _ string) bool { return strings.HasPrefix(name, labelPrefix) })
	if labels == nil {
		labels = make(map[string]string)
	}
	if _, ok := labels[labelOneOff]; ok {
		labels[labelOneOff] = "True"
	}
	labels[labelGateway], labels[labelRun], labels[labelOperation], labels[labelApp] = r.gateway, r.run, spec.Operation, spec.App
	config := &container.Config{
		Hostname: spec.Name, Image: t.image, User: t.user, WorkingDir: t.dir, Labels: labels,
		Entrypoint: command, // the whole command, so that neither the image's entry point nor its command is used
		Env:        t.env,
		OpenStdin:  true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		NetworkDisabled: t.noNetwork,
	}
	if spec.Container.User != "" {
		config.User = spec.Container.User
	}
	host := t.host
	host.Init = new(true)
	if host.SecurityOpt == nil { // with only an image
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	host.LogConfig = container.LogConfig{Type: "none"}
	host.Memory = lower(host.Memory, spec.Memory)
	host.MemorySwap = host.Memory // both together
	var pids int64
	if host.PidsLimit != nil {
		pids = *host.PidsLimit
	}
	host.PidsLimit = nil
	if pids = lower(pids, spec.Pids); pids > 0 {
		host.PidsLimit = &pids
	}
	if spec.Terminal != nil {
		config.Tty = true
		name := spec.Terminal.Name
		if name == "" {
			name = "dumb"
		}
		config.Env = append(slices.Clone(config.Env), "TERM="+name)
		host.ConsoleSize = [2]uint{cells(spec.Terminal.Size.Height), cells(spec.Terminal.Size.Width)}
	}
	config.Env = mergeEnv(config.Env, spec.Env)
	options := client.ContainerCreateOptions{
		Config: config, HostConfig: &host,
		Name: "ttydrain-" + spec.Name + "-" + strings.ToLower(rand.Text()[:8]), // unique even if unrelated gateways share a daemon
	}
	if host.NetworkMode.IsContainer() {
		config.Hostname = "" // the other container's
	}
	if t.first != nil {
		options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{t.first.name: t.first.endpoint}}
	}
	return options
}

// mergeEnv joins lists of KEY=VALUE: the last value of a key wins, at the position of the first.
func mergeEnv(lists ...[]string) []string {
	var merged []string
	at := make(map[string]int)
	for _, list := range lists {
		for _, entry := range list {
			key, _, ok := strings.Cut(entry, "=")
			if !ok {
				continue // it would make the daemon remove the image's variable
			}
			if i, there := at[key]; there {
				merged[i] = entry
				continue
			}
			at[key] = len(merged)
			merged = append(merged, entry)
		}
	}
	return merged
}

// cells converts a width or a height for the API.
func cells(n int) uint { return uint(max(0, n)) }
