// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// environment holds all that the program uses of the outside world. Tests make their own.
type environment struct {
	environ []string // as os.Environ returns it
	stdin   io.Reader
	columns int    // the width of the terminal that standard output is; 0 if it is none
	dir     string // the working directory, absolute
	dirErr  error  // why there is no working directory
	etc     string // "/etc", the directory of the machine's configuration files
	now     func() time.Time
	cpu     func() time.Duration // the processor time so far, of this process and of its children that have ended

	stat       func(name string) (fs.FileInfo, error)
	readFile   func(name string) ([]byte, error)
	lookupUser func(name string) (*user.User, error)
	dialSyslog func() (io.WriteCloser, error)

	// host says where this process runs. Outside of the namespaces for containers, reenter runs the program again inside.
	host    oci.Place
	reenter func(context.Context, reentry) (status int, err error)
	// call is what this run is to do. Its image is empty unless it builds one of several images of an image file.
	call call
	uid  int // the user who runs the program

	arch   string // this machine's architecture, as Debian calls it
	mirror string // the Debian mirror of this machine's apt sources; empty for none
	// updates says that these sources have the updates of the mirror; security is the URL of their security archive, empty
	// for none.
	updates  bool
	security string
	// allowsExpired says that this machine's apt accepts suites whose Valid-Until has passed.
	allowsExpired bool
}

// reentry holds the options for running the program again, inside the namespaces for containers.
type reentry struct {
	// stateDir is the value of --state-dir.
	stateDir  string
	isolation oci.Isolation
	// call is what that run is to do; nil for what this one was called to do.
	call *call
	// stdout and stderr are its streams; nil for those of this one.
	stdout, stderr *os.File
}

// call is what a run of the program is to do.
type call struct {
	args []string
	// image is the name of the image of an image file that is built.
	image string
	// written are absolute names of files that builds of other images write at the same time.
	written []string
}

// callMessage is the form in which a run of the program receives its call: file names can have any bytes.
type callMessage struct {
	Args    [][]byte
	Image   string
	Written [][]byte
}

// message returns the call for the run that readCall reads it in.
func (c call) message() ([]byte, error) {
	return json.Marshal(callMessage{asBytes(c.args), c.image, asBytes(c.written)})
}

// readCall returns the call of this run: that of its arguments, or of the message from another run. Arguments may
// contain passwords, and everybody can read the arguments of a process.
func readCall(args []string, message []byte) (call, error) {
	if message == nil {
		return call{args: args}, nil
	}
	var received callMessage
	err := json.Unmarshal(message, &received)
	return call{asTexts(received.Args), received.Image, asTexts(received.Written)}, err
}

// asBytes returns texts in the form in which JSON keeps those that are not UTF-8.
func asBytes(texts []string) [][]byte {
	all := make([][]byte, len(texts))
	for i, text := range texts {
		all[i] = []byte(text)
	}
	return all
}

// asTexts is the opposite of asBytes.
func asTexts(all [][]byte) []string {
	texts := make([]string, len(all))
	for i, text := range all {
		texts[i] = string(text)
	}
	return texts
}

// lookupEnv is os.LookupEnv. Of two variables with one name the first counts, as for getenv(3) and os.Getenv.
func (e environment) lookupEnv(name string) (value string, found bool) {
	for _, kv := range e.environ {
		if n, v, _ := strings.Cut(kv, "="); n == name {
			return v, true
		}
	}
	return "", false
}

// getenv is os.Getenv.
func (e environment) getenv(name string) string {
	value, _ := e.lookupEnv(name)
	return value
}

// processorTime returns the processor time that this process and its children have used, as far as these have ended and
// were waited for. The init of a container waits for the programs in it, and this process for the init.
func processorTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var usage unix.Rusage
		if unix.Getrusage(who, &usage) == nil {
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	return sum
}

// world returns the part of the environment that the rules for a build depend on.
func (e environment) world() builder.World {
	return builder.World{
		Stat: e.stat, ReadFile: e.readFile, Writable: writable, LookupUser: e.lookupUser, UID: e.uid,
		Dir: e.dir, Today: e.now(), HostArch: e.arch, Program: programName + " " + buildVersion(release, buildInfo()),
		HostMirror: builder.NewURL(e.mirror), HostUpdates: e.updates, HostSecurity: builder.NewURL(e.security),
		HostAllowsExpired: e.allowsExpired, Netrc: builder.NewSecret(e.netrc()),
	}
}

// netrc returns the credentials for mirrors that are in the user's netrc file and in those of apt. A file that is
// missing, or that this user cannot read, has none.
func (e environment) netrc() string {
	names := []string{e.getenv("NETRC")}
	if home := e.getenv("HOME"); names[0] == "" && filepath.IsAbs(home) {
		names[0] = filepath.Join(home, ".netrc")
	}
	names = append(names, filepath.Join(e.etc, "apt", "auth.conf"))
	more, err := filepath.Glob(filepath.Join(e.etc, "apt", "auth.conf.d", "*.conf"))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var all strings.Builder
	for _, name := range append(names, more...) {
		if text, err := e.readFile(name); err == nil {
			all.Write(text)
			all.WriteString("\n")
		}
	}
	return all.String()
}

// sslCertFile names the variable of OpenSSL, Go and others for the file of trusted certificates.
const sslCertFile = "SSL_CERT_FILE"

// systemCertificates are where distributions keep the certificates that a machine trusts, below /etc: those of Debian,
// Fedora, openSUSE and Alpine (crypto/x509/root_linux.go).
var systemCertificates = []string{
	"ssl/certs/ca-certificates.crt", "pki/tls/certs/ca-bundle.crt", "ssl/ca-bundle.pem",
	"pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "ssl/cert.pem",
}

// certificates returns the certificates that this machine trusts, in PEM; nil if there are none.
func (e environment) certificates() []byte {
	names := []string{e.getenv(sslCertFile)}
	if names[0] == "" {
		names = nil
		for _, name := range systemCertificates {
			names = append(names, filepath.Join(e.etc, name))
		}
	}
	for _, name := range names {
		if text, err := e.readFile(name); err == nil {
			return text
		}
	}
	return nil
}

// writable returns an error if files cannot be made in a directory.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }

// stateDir returns the directory that --state-dir names, or else cacheDir.
func (e environment) stateDir(option string) (string, error) {
	if option != "" {
		return absolute(e.dir, option), nil
	}
	return e.cacheDir()
}

// cacheDir returns the default directory for cached results, below $XDG_CACHE_HOME or ~/.cache.
func (e environment) cacheDir() (string, error) {
	if dir := e.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, programName), nil
	}
	if home := e.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", programName), nil
	}
	return "", errors.New("find a directory for the cache: neither XDG_CACHE_HOME nor HOME is set; " +
		"--state-dir names one")
}

// debianArches maps Go's names of architectures to Debian's where they differ.
var debianArches = map[string]string{
	"386": "i386", "arm": "armhf", "mipsle": "mipsel", "mips64le": "mips64el", "ppc64le": "ppc64el",
}

// hostArch returns Debian's name of the architecture that this program was compiled for.
func hostArch() string {
	if name, ok := debianArches[runtime.GOARCH]; ok {
		return name
	}
	return runtime.GOARCH
}
