// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/dpkg"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Access is what programs need to reach the mirror and to install its packages, and the image must not keep. The zero
// Access is that of a mirror that needs nothing.
type Access struct {
	dir   string   // of the host, with aptConf and the files that it names; "" for none
	local []string // the directories of the host that are mirrors
	netrc secret.Text
	ca    []byte
	hosts []byte
}

// AccessOptions are the properties of a mirror and of the host that Access depends on.
type AccessOptions struct {
	// Unauthenticated has apt install packages that nobody has signed.
	Unauthenticated bool
	// AllowExpired has apt accept Release files past their Valid-Until.
	AllowExpired bool
	// Mirrors are the mirrors with their credentials.
	Mirrors []secret.URL
	// CA has the certificates that servers are verified by, in PEM; empty for those of the toolbox and the target.
	CA []byte
	// Hosts is the host's /etc/hosts.
	Hosts []byte
	// RealDpkg has apt run the real dpkg, and not the program of package dpkg.
	RealDpkg bool
}

// accessDir is where the files of Access are while a program runs. Nothing below /run is in the image.
const accessDir = "/run/vmdebootstrap"

// Names of files in accessDir: the configuration of apt (apt.conf(5)), the credentials for apt (apt_auth.conf(5)), and
// certificates.
const (
	aptConf  = "apt.conf"
	authConf = "auth.conf"
	caFile   = "ca.crt"
)

// NewAccess writes the files of Access to a new directory dir of the host.
func NewAccess(dir string, o AccessOptions) (Access, error) {
	a := Access{ca: o.CA, hosts: hostsBlock(o.Hosts)}
	var logins, aptLogins strings.Builder
	for _, mirror := range o.Mirrors {
		if local, ok := mirror.Local(); ok && !slices.Contains(a.local, local) {
			a.local = append(a.local, local)
		}
		logins.WriteString(netrc(mirror).Reveal())
		aptLogins.WriteString(aptAuth(mirror).Reveal())
	}
	a.netrc = secret.New(logins.String())
	var conf strings.Builder
	set := func(name, value string) { fmt.Fprintf(&conf, "%s %q;\n", name, value) }
	files := map[string][]byte{}
	if !o.RealDpkg {
		set("Dir::Bin::dpkg", dpkg.Path)
	}
	if o.Unauthenticated {
		set("APT::Get::AllowUnauthenticated", "true")
		set("Acquire::AllowInsecureRepositories", "true") // since apt 1.1, for update
	}
	if o.AllowExpired {
		set("Acquire::Check-Valid-Until", "false")
	}
	if len(o.CA) > 0 {
		set("Acquire::https::CAInfo", accessDir+"/"+caFile)
		files[caFile] = o.CA
	}
	if !a.netrc.IsZero() {
		set("Dir::Etc::netrc", accessDir+"/"+authConf)
		files[authConf] = []byte(aptLogins.String())
	}
	if conf.Len() == 0 {
		return a, nil
	}
	files[aptConf] = []byte(conf.String())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Access{}, err
	}
	for name, data := range files {
		// apt's own user reads them. The directory above is for the user of the build alone.
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return Access{}, err
		}
	}
	a.dir = dir
	return a, nil
}

// netrc returns the credentials of a URL in the form that wget reads, which takes quotes and backslashes (netrc.c).
func netrc(u secret.URL) secret.Text {
	user, password, ok := u.Login()
	if !ok {
		return secret.Text{}
	}
	host, _ := u.Host()
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	quote := func(text string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return secret.New(fmt.Sprintf("machine %s login %s password %s\n", host, quote(user), quote(password.Reveal())))
}

// aptAuth returns them in the form that apt reads, which knows no quotes. It wants the scheme if that does not encrypt;
// older ones (before 1.9) know no scheme and no port.
func aptAuth(u secret.URL) secret.Text {
	user, password, ok := u.Login()
	if !ok {
		return secret.Text{}
	}
	host, encrypted := u.Host()
	machines := []string{host}
	if !encrypted {
		machines = []string{"http://" + host, host}
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		machines = append(machines, name)
	}
	var text strings.Builder
	for _, machine := range machines {
		fmt.Fprintf(&text, "machine %s login %s password %s\n", machine, user, password.Reveal())
	}
	return secret.New(text.String())
}

// Environ returns the variables of a program that installs packages.
func (a Access) Environ() []string {
	if a.dir == "" {
		return nil
	}
	env := []string{"APT_CONFIG=" + accessDir + "/" + aptConf}
	if len(a.ca) > 0 {
		env = append(env, "SSL_CERT_FILE="+accessDir+"/"+caFile) // for OpenSSL, Go and what is based on them
	}
	return env
}

// Mounts returns the mounts of a program that installs packages in the target, whose root directory is at root.
func (a Access) Mounts(root string) []specs.Mount {
	mounts := a.mount("", a.dir, accessDir)
	if root != "" {
		mounts = append(mounts, a.mount(root, a.dir, accessDir)...)
	}
	return append(mounts, a.localMounts(root)...)
}

// localMounts returns the mounts of the mirrors that are directories of the host.
func (a Access) localMounts(root string) []specs.Mount {
	var mounts []specs.Mount
	for _, dir := range a.local {
		mounts = append(mounts, a.mount(root, dir, dir)...)
	}
	return mounts
}

// mount returns a mount of a directory of the host, read-only; none if there is none.
func (Access) mount(root, dir, dst string) []specs.Mount {
	if dir == "" {
		return nil
	}
	return []specs.Mount{target.Bind(dir, root+dst, "ro")}
}

// installCommand returns a process for a program that may install packages in the target, and its mounts. The target's
// root directory is at root: "" for a program of the target.
func (s *Context) installCommand(root string, args ...string) (*specs.Process, []specs.Mount) {
	p := s.Command(args...)
	p.Env = append(p.Env, s.Access.Environ()...)
	mounts := append([]specs.Mount{target.Bind(s.Archives, root+archivesDir)}, s.Access.Mounts(root)...)
	if s.RealDpkg {
		return p, mounts
	}
	mounts = append(mounts, target.Bind(s.Derived, root+dpkg.DerivedDir, "ro"), target.Bind(s.Program, dpkg.Path, "ro"))
	if root != "" {
		mounts = append(mounts, target.Bind(s.Program, root+dpkg.Path, "ro"))
	}
	return p, mounts
}

// prepareToolbox writes the files by which wget and other programs of the toolbox reach the mirror. They are written to
// a toolbox that runs a single program and is then thrown away.
func (a Access) prepareToolbox(toolbox target.Target) error {
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{"/root/.netrc", []byte(a.netrc.Reveal()), 0o600},
		{"/etc/ssl/certs/ca-certificates.crt", a.ca, 0o644},
		{hostsFile, a.hosts, 0o644},
	} {
		if len(f.data) == 0 {
			continue
		}
		if err := target.WriteFileIn(toolbox, f.name, string(f.data), f.mode); err != nil {
			return fmt.Errorf("prepare the toolbox: %w", err)
		}
	}
	return nil
}

const hostsFile = "/etc/hosts"

// Lines around the names of the host in a hosts file.
const (
	hostsBegin = "# vmdebootstrap: names of the host, while the image is built\n"
	hostsEnd   = "# vmdebootstrap: end\n"
)

// hostsBlock returns the lines of the host's hosts file, and localhost, for those of others. 127.0.1.1 is the host's
// own name in Debian, which programs would put into what they generate.
func hostsBlock(hosts []byte) []byte {
	if len(hosts) == 0 {
		return nil
	}
	block := []byte(hostsBegin + "127.0.0.1 localhost\n::1 localhost\n")
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] != "127.0.1.1" && !slices.Contains(fields, "localhost") {
			block = append(block, strings.Join(fields, " ")+"\n"...)
		}
	}
	return append(block, hostsEnd...)
}

// withHosts calls run with the names of the host in the target's hosts file. What run itself changes there stays.
func (a Access) withHosts(t target.Target, run func() error) (err error) {
	if len(a.hosts) == 0 {
		return run()
	}
	before, err := readHosts(t)
	if err != nil {
		return err
	}
	text := before.text
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(slices.Clone(text), '\n')
	}
	if before.writable {
		if err := t.WriteFile(hostsFile, append(slices.Clone(text), a.hosts...), before.mode); err != nil {
			return fmt.Errorf("write the names of the host: %w", err)
		}
	}
	if err := run(); err != nil || !before.writable {
		return err
	}
	after, err := readHosts(t)
	if err != nil || !after.exists || !after.writable {
		return err
	}
	rest := bytes.Replace(after.text, a.hosts, nil, 1)
	switch {
	case bytes.Equal(rest, text) && before.exists:
		return t.WriteFile(hostsFile, before.text, before.mode)
	case len(rest) == 0 && !before.exists:
		return t.Remove(hostsFile)
	case len(rest) == len(after.text):
		return nil
	}
	return t.WriteFile(hostsFile, rest, after.mode)
}

// hostsState is the state of a target's hosts file.
type hostsState struct {
	text   []byte
	mode   fs.FileMode
	exists bool
	// writable says that it is a regular file or can become one.
	writable bool
}

func readHosts(t target.Target) (hostsState, error) {
	info, err := t.Lstat(hostsFile)
	if errors.Is(err, fs.ErrNotExist) {
		etc, err := t.Lstat(filepath.Dir(hostsFile))
		return hostsState{mode: 0o644, writable: err == nil && etc.IsDir()}, nil
	}
	if err != nil || !info.Mode().IsRegular() {
		return hostsState{exists: true}, err
	}
	text, err := t.ReadFile(hostsFile)
	return hostsState{text, info.Mode().Perm(), true, true}, err
}
