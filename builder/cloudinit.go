// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// kvmDatasources are those of clouds whose machines are KVM, and of ConfigDrive and NoCloud, with which any host can
// configure a machine. None, the last, lets the boot go on without any.
var kvmDatasources = []string{"NoCloud", "ConfigDrive", "OpenStack", "Ec2", "GCE", "CloudStack", "DigitalOcean",
	"Hetzner", "Scaleway", "Vultr", "UpCloud", "Exoscale", "Oracle", "None"}

// seedFiles are the options that name files of the datasource NoCloud, with the names of the files.
func (o Options) seedFiles() []struct{ flag, name, file, schema string } {
	all := []struct{ flag, name, file, schema string }{
		{"--user-data", "user-data", o.UserData, "cloud-config"},
		{"--meta-data", "meta-data", o.MetaData, ""},
		{"--network-config", "network-config", o.NetworkConfig, "network-config"},
	}
	return slices.DeleteFunc(all, func(f struct{ flag, name, file, schema string }) bool { return f.file == "" })
}

// cloudInitKnown: the files are there, user data has the first line by which cloud-init knows what it is, and the
// release has cloud-init.
func cloudInitKnown(s Spec) []error {
	var problems []error
	for _, f := range s.o.seedFiles() {
		if !s.o.CloudInit {
			problems = append(problems, problem.New(f.flag, "it needs --cloud-init")...)
		}
		if _, err := s.w.Stat(f.file); err != nil {
			problems = append(problems, problem.New(f.flag, "%w", err)...)
			continue
		}
		if f.flag != "--user-data" || s.w.ReadFile == nil {
			continue
		}
		if text, err := s.w.ReadFile(f.file); err != nil {
			problems = append(problems, problem.New(f.flag, "%w", err)...)
		} else if !isUserData(text) {
			problems = append(problems, problem.New(f.flag, "the first line of %s does not say what it is: want #cloud-config, "+
				"#! or another that cloud-init knows", f.file)...)
		}
	}
	if s.o.CloudInit && s.release.Codename != "" && !s.release.Systemd() {
		problems = append(problems, problem.New("--cloud-init", "%s has none that works with systemd", s.release.Codename)...)
	}
	return problems
}

// isUserData reports whether cloud-init knows the format of user data, by its beginning.
func isUserData(text []byte) bool {
	return slices.ContainsFunc([]string{"#cloud-config", "#!", "#include", "#cloud-boothook", "#part-handler",
		"## template: jinja", "Content-Type:", "MIME-Version:", "\x1f\x8b"},
		func(begin string) bool { return bytes.HasPrefix(text, []byte(begin)) })
}

// cloudInitStep returns the step that configures cloud-init. Meta data are required: those that the user does not
// give are the host name.
func cloudInitStep(o Options, r debian.Release, lock Lock) step.CloudInit {
	c := step.CloudInit{Datasources: kvmDatasources}
	files := o.seedFiles()
	if len(files) == 0 {
		return c
	}
	c.Datasources = []string{"NoCloud", "None"}
	if o.MetaData == "" {
		c.Seed = append(c.Seed, step.SeedFile{Name: "meta-data",
			Text: fmt.Sprintf("instance-id: iid-%s\nlocal-hostname: %s\n", o.Hostname, o.Hostname)})
	}
	for _, f := range files {
		seed := step.SeedFile{Name: f.name, File: lock.Copy(f.file), Digest: lock.inputDigest(f.file)}
		// cloud-init 22.4 has the command, and 25.1 that for networks.
		if f.schema == "cloud-config" && r.Since("bookworm", "jammy") ||
			f.schema == "network-config" && r.Since("trixie", "noble") {
			seed.Schema = f.schema
		}
		c.Seed = append(c.Seed, seed)
	}
	return c
}
