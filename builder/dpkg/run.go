// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/depmod"
)

// Name is the base name under which this program is dpkg.
const Name = "dpkg"

// Chroot is the base name under which this program is chroot(8), and dpkg for "chroot DIR dpkg ...".
const Chroot = "chroot"

// DerivedDir is a directory of what is derived from packages: packages that take less time to decompress than others
// with the same members, under the SHA-256 digests of these, and archives of package depmod. It is in the root
// directory of RunChroot or of Run, and need not exist.
const DerivedDir = "/run/vmdebootstrap-dpkg/derived"

// Path is where apt finds this program, which is depmod as well, by a link.
const Path = "/run/vmdebootstrap-dpkg/" + Name

// ChrootPath is where debootstrap finds chroot(8).
const ChrootPath = "/usr/sbin/" + Chroot

// configDir is the directory of dpkg's configuration.
const configDir = "/etc/dpkg"

// statusUsage is the exit status of chroot for a command line that it does not understand, statusNotFound that for a
// program that is not there (chroot(1)).
const (
	statusFailed   = 1
	statusUsage    = 125
	statusNotFound = 127
)

// Process is what the program has from its caller.
type Process struct {
	// Args are the arguments without the name of the program.
	Args           []string
	Environ        []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time

	// packages is DerivedDir, nil if there is none.
	packages *os.Root
}

// openPackages opens DerivedDir.
func (p *Process) openPackages() {
	if root, err := os.OpenRoot(DerivedDir); err == nil {
		p.packages = root
	}
}

// RunChroot does what chroot(8) does, with Run in the place of dpkg. It returns an exit status, unless another program
// takes the place of this one.
func RunChroot(p Process) int {
	args := p.Args
	if len(args) < 2 || strings.HasPrefix(args[0], "-") {
		fmt.Fprintf(p.Stderr, "%s: usage: %s DIRECTORY PROGRAM ARGUMENT...\n", Chroot, Chroot)
		return statusUsage
	}
	p.openPackages()
	if err := errors.Join(unix.Chroot(args[0]), unix.Chdir("/")); err != nil {
		fmt.Fprintf(p.Stderr, "%s: enter %s: %v\n", Chroot, args[0], err)
		return statusUsage
	}
	if args[1] == Name {
		p.Args = args[2:]
		return p.run(true)
	}
	return p.replace(args[1], args[1:])
}

// replace has another program take the place of this one.
func (p Process) replace(program string, args []string) int {
	file, err := exec.LookPath(program)
	if err == nil {
		err = unix.Exec(file, args, p.Environ)
	}
	fmt.Fprintf(p.Stderr, "%s: run %s: %v\n", Chroot, program, err)
	return statusNotFound
}

// Run does what dpkg does, in the root directory of the process. It returns an exit status, unless the real dpkg takes
// the place of this program.
func Run(p Process) int { return p.run(false) }

func (p Process) run(bootstrap bool) int {
	left := func() int { return p.leaveAll(bootstrap) }
	c, ok := parseCall(p.Args)
	if !ok {
		return left()
	}
	if _, err := exec.LookPath("debsig-verify"); err == nil {
		return left()
	}
	if p.packages == nil {
		p.openPackages()
	}
	const umask = 0o022 // dpkg's own
	unix.Umask(umask)
	r := &run{Process: p, call: c, bootstrap: bootstrap, dir: adminDir, configDir: configDir}
	if err := r.open(); err != nil {
		return left()
	}
	if err := r.unpackAll(context.Background()); err != nil {
		fmt.Fprintf(p.Stderr, "%s: error: %v\n", Name, err)
		return statusFailed
	}
	if len(r.broken) > 0 { // the real dpkg has said so of each, but much may have followed
		fmt.Fprintf(p.Stderr, "Errors were encountered while processing:\n %s\n", strings.Join(r.broken, "\n "))
	}
	if r.failed {
		return statusFailed
	}
	return 0
}

// leaveAll leaves the whole call to the real dpkg. It returns an exit status, unless that takes the place of this
// program.
func (p Process) leaveAll(bootstrap bool) int {
	cmd := exec.Command(Name, p.Args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Environ, p.Stdin, p.Stdout, p.Stderr
	held, err := runWithIndexes(cmd, bootstrap)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintf(p.Stderr, "%s: error: %v\n", Name, err)
		return statusFailed
	case held:
		return 0
	}
	return p.replace(Name, append([]string{Name}, p.Args...))
}

// runWithIndexes runs the real dpkg with this program in the place of depmod, if it may configure a kernel for which
// there are indexes. Otherwise it does nothing.
func runWithIndexes(cmd *exec.Cmd, bootstrap bool) (done bool, err error) {
	configures := func(arg string) bool { return slices.Contains([]string{"--configure", "--install", "-i"}, arg) }
	if bootstrap || !slices.ContainsFunc(cmd.Args, configures) {
		return false, nil
	}
	release, err := depmod.Hold("/", DerivedDir, Path)
	if release == nil || err != nil {
		return false, err
	}
	err = cmd.Run()
	return true, errors.Join(err, release())
}

// run carries out a call.
type run struct {
	Process
	call call
	// bootstrap is set in debootstrap's chroot.
	bootstrap      bool
	dir, configDir string
	u              *unpacker
	unlock         func() error
	// unpacked are the names of the packages that are to be configured in the end, if the call is --install.
	unpacked []string
	// failed is set when the real dpkg has failed, which has said why.
	failed bool
	// broken are the files of the packages that it could not unpack.
	broken []string
}

// open opens the database, for this program alone. It wraps errNotOurs if that has something that only the real dpkg
// can read.
func (r *run) open() (err error) {
	db, err := openDatabase(r.dir)
	if err != nil {
		return err
	}
	if r.unlock, err = db.lock(); err != nil {
		return err
	}
	s, err := db.readSettled(r.configDir)
	if err != nil {
		return errors.Join(err, r.unlock())
	}
	if f, err := os.OpenFile(db.path(deferredTriggers), os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
		return errors.Join(err, r.unlock())
	} else if err := f.Close(); err != nil {
		return errors.Join(err, r.unlock())
	}
	r.u = &unpacker{Process: r.Process, call: r.call, db: db, settled: s, began: r.Now(), users: map[string]int{},
		groups: map[string]int{}}
	return nil
}

// close writes the database, for the next dpkg.
func (r *run) close() error { return errors.Join(r.u.db.save(), r.unlock()) }

// unpackAll unpacks the packages of the call, and configures them if it is --install.
func (r *run) unpackAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, p := range newReader(int64(runtime.NumCPU()), r.packages).readAll(ctx, r.call.files) {
		d, err := p.wait()
		if err == nil && r.bootstrap && !r.call.install && r.u.db.unconfigure(d) {
			// Debootstrap has installed a few packages one by one before it unpacks all required ones, those included.
			fmt.Fprintf(r.Stdout, "%s is unpacked already.\n", d.infoName())
			p.release()
			continue
		}
		if err == nil {
			err = r.u.unpack(d)
		} else {
			err = notOurs("%w", err)
		}
		p.release()
		if err == nil {
			r.unpacked = append(r.unpacked, d.infoName())
			continue
		}
		if !errors.Is(err, errNotOurs) {
			return errors.Join(err, r.close())
		}
		fmt.Fprintf(r.Stdout, "%s: %v\n", p.file, err)
		if err := r.leave(p.file, d); err != nil {
			return err
		}
	}
	triggered := r.u.triggered
	if err := r.close(); err != nil {
		return err
	}
	switch {
	case r.call.install && len(r.unpacked) > 0:
		return r.real(append([]string{"--configure"}, r.unpacked...)...)
	case triggered && r.call.noTriggers:
		// This has dpkg note what was activated, and remove what is to be removed: nothing. Other actions configure
		// packages, or read the list of available packages, whose priorities replace those of the packages themselves.
		if !slices.ContainsFunc(r.u.db.records, (*record).unwanted) {
			return r.real("--remove", "--pending")
		}
		return r.real("--set-selections")
	case triggered:
		return r.real("--triggers-only", "--pending")
	}
	return nil
}

// leave leaves a package to the real dpkg, and reads anew what that has changed.
func (r *run) leave(file string, d *deb) error {
	before := r.u.db.configured()
	if err := r.close(); err != nil {
		return err
	}
	failed := r.failed
	r.failed = false
	if err := r.real("--unpack", file); err != nil {
		return err
	}
	if r.failed {
		r.broken = append(r.broken, file)
	}
	unpacked := !r.failed && d != nil
	r.failed = r.failed || failed
	if err := r.open(); err != nil {
		return err
	}
	if unpacked {
		r.unpacked = append(r.unpacked, d.infoName())
	}
	// Those that dpkg has deconfigured for it are configured again.
	after := r.u.db.configured()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !after[name] && (d == nil || name != d.infoName()) {
			r.unpacked = append(r.unpacked, name)
		}
	}
	return nil
}

// real runs the real dpkg with the options of the call. If that fails, it has said why.
func (r *run) real(args ...string) error {
	cmd := exec.Command(Name, append(slices.Clone(r.call.options), args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.Environ, r.Stdout, r.Stderr
	if args[0] != "--set-selections" {
		cmd.Stdin = r.Stdin
	}
	done, err := runWithIndexes(cmd, r.bootstrap)
	if !done && err == nil {
		err = cmd.Run()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.failed = true
		return nil
	}
	return err
}

// realArchitecture returns the architecture of the real dpkg.
func realArchitecture() (string, error) {
	text, err := exec.Command(Name, "--print-architecture").Output()
	if err != nil {
		return "", fmt.Errorf("get the architecture of dpkg: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// versionLine is what dpkg --version prints first.
var versionLine = regexp.MustCompile(`version (\S+)`)

// realVersion returns the version of the real dpkg.
func realVersion() (string, error) {
	text, err := exec.Command(Name, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("get the version of dpkg: %w", err)
	}
	m := versionLine.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("get the version of dpkg from %q", text)
	}
	return string(m[1]), nil
}
