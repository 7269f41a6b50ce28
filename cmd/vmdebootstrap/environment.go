package main

import (
	"io"
	"io/fs"
	"os/user"
	"runtime"
	"strings"
	"time"
)

// environment is what the program knows of the place where it runs. Tests make their own.
type environment struct {
	environ []string // of os.Environ
	dir     string   // the working directory, absolute
	etc     string   // "/etc": the place of the machine's configuration files
	now     func() time.Time

	stat       func(name string) (fs.FileInfo, error)
	lookupUser func(name string) (*user.User, error)
	dialSyslog func() (io.WriteCloser, error)

	arch   string // this machine's, as Debian says it
	mirror string // the Debian mirror that this machine uses itself; empty for none
}

// getenv is os.Getenv; the last of several settings counts.
func (e environment) getenv(name string) string {
	value := ""
	for _, kv := range e.environ {
		if n, v, _ := strings.Cut(kv, "="); n == name {
			value = v
		}
	}
	return value
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
