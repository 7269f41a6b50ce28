// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// environment is what the program knows of the place where it runs. Tests make their own.
type environment struct {
	environ []string // of os.Environ
	stdin   io.Reader
	dir     string // the working directory, absolute
	etc     string // "/etc": the place of the machine's configuration files
	now     func() time.Time

	stat       func(name string) (fs.FileInfo, error)
	readFile   func(name string) ([]byte, error)
	lookupUser func(name string) (*user.User, error)
	dialSyslog func() (io.WriteCloser, error)

	// host is where this process runs; where no containers can be made, reenter runs the program again where they can.
	host    oci.Place
	reenter func(context.Context, place) (status int, err error)
	uid     int // the user who runs the program

	arch   string // this machine's, as Debian says it
	mirror string // the Debian mirror that this machine uses itself; empty for none
}

// place says where containers are made, and how.
type place struct {
	// stateDir is the value of --state-dir.
	stateDir  string
	isolation oci.Isolation
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

// world is what the rules for a build look at.
func (e environment) world() builder.World {
	return builder.World{
		Stat: e.stat, ReadFile: e.readFile, LookupUser: e.lookupUser, Dir: e.dir, Today: e.now(), HostArch: e.arch,
		HostMirror: builder.NewURL(e.mirror),
	}
}

// stateDir is the directory of --state-dir, or else cacheDir.
func (e environment) stateDir(option string) (string, error) {
	if option != "" {
		return absolute(e.dir, option), nil
	}
	return e.cacheDir()
}

// cacheDir is where this program keeps what it can make again: below $XDG_CACHE_HOME, or ~/.cache.
func (e environment) cacheDir() (string, error) {
	if dir := e.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, programName), nil
	}
	if home := e.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", programName), nil
	}
	return "", errors.New("no place for the cache: neither XDG_CACHE_HOME nor HOME is set")
}

// debianArches are Debian's names of the architectures that Go calls otherwise.
var debianArches = map[string]string{
	"386": "i386", "arm": "armhf", "mipsle": "mipsel", "mips64le": "mips64el", "ppc64le": "ppc64el",
}

// hostArch is Debian's name of the architecture that this program was made for.
func hostArch() string {
	if name, ok := debianArches[runtime.GOARCH]; ok {
		return name
	}
	return runtime.GOARCH
}
