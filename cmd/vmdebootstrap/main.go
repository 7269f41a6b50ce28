// SPDX-License-Identifier: Apache-2.0

// Command vmdebootstrap builds disk images, tarballs and live file systems of Debian and Ubuntu.
//
// Without a verb it takes the options of vmdebootstrap 1.7, with their names, defaults, abbreviations and exit
// statuses; see flags.go for the options, abbrev.go for the grammar and configfile.go for where settings come from.
// If the first word names a verb, that is run instead.
//
// This package is the only one of the program that uses the environment, the clock and the standard streams. It passes
// them on as values.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/depmod"
	"github.com/vmdebootstrap/vmdebootstrap/builder/dpkg"
	"github.com/vmdebootstrap/vmdebootstrap/builder/pkgdetails"
	"github.com/vmdebootstrap/vmdebootstrap/builder/wget"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// standIns are the programs that this one is under other names, in the containers of a build, see builder.Executor.
var standIns = map[string]func(){
	pkgdetails.Name:    pkgDetails,
	pkgdetails.Extract: func() { os.Exit(dpkg.RunExtract(unpackProcess())) },
	wget.Name:          wgetProgram,
	dpkg.Name:          func() { os.Exit(dpkg.Run(unpackProcess())) },
	depmod.Name:        depmodProgram,
	dpkg.Chroot:        func() { os.Exit(dpkg.RunChroot(unpackProcess())) },
}

func main() {
	if standIn, ok := standIns[filepath.Base(os.Args[0])]; ok {
		standIn()
		return
	}
	host, helper := oci.Init()
	if helper {
		return
	}
	begin(host)
}

// pkgDetails is the main function of the program pkgdetails in the toolbox, see builder.Executor.
func pkgDetails() {
	if err := pkgdetails.Run(os.Args[1:], os.Getenv("DEBOOTSTRAP_CHECKSUM_FIELD"), os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", pkgdetails.Name, err)
		os.Exit(exitFailed)
	}
}

// unpackProcess is this process for the programs dpkg, chroot and extract-packages in the containers, see
// builder.Executor.
func unpackProcess() dpkg.Process {
	return dpkg.Process{
		Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now,
	}
}

// depmodProgram is the main function of the program depmod in the target, see builder.Executor.
func depmodProgram() {
	os.Exit(depmod.Run(depmod.Process{
		Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Root: "/", Dir: dpkg.DerivedDir,
	}))
}

// wgetProgram is the main function of the program wget in the toolbox, see builder.Executor.
func wgetProgram() {
	p := wget.Program{Dir: wget.Dir, Real: wget.Real, Err: os.Stderr}
	os.Exit(p.Run(context.Background(), os.Args[1:]))
}

// begin runs the program; host is what oci.Init has returned.
func begin(host oci.Place) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal cancels the work, which then cleans up; a second one kills the process.
	context.AfterFunc(ctx, stop)
	os.Exit(mainStatus(ctx, host))
}

// clock is the clock of the program; tests replace it.
var clock = time.Now

// mainStatus makes the environment, runs the program and returns its exit status.
func mainStatus(ctx context.Context, host oci.Place) int {
	dir, dirErr := os.Getwd()
	if dirErr != nil {
		dirErr = fmt.Errorf("find the working directory: %w", dirErr)
	}
	mirror, _ := archive.HostMirror(os.DirFS("/"))
	updates, security := archive.HostPockets(os.DirFS("/"), mirror)
	called, err := readCall(os.Args[1:], host.Message)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR: read the arguments of the call: %v\n", err)
		return exitFailed
	}
	env := environment{
		environ:       os.Environ(),
		stdin:         os.Stdin,
		columns:       columns(os.Stdout),
		dir:           dir,
		dirErr:        dirErr,
		etc:           "/etc",
		now:           clock,
		cpu:           processorTime,
		stat:          os.Stat,
		readFile:      os.ReadFile,
		lookupUser:    lookupUser,
		host:          host,
		call:          called,
		uid:           os.Getuid(),
		arch:          hostArch(),
		mirror:        mirror,
		updates:       updates,
		security:      security,
		allowsExpired: archive.HostAllowsExpired(os.DirFS("/")),
		dialSyslog:    dialSyslog,
	}
	env.reenter = func(ctx context.Context, r reentry) (int, error) {
		again := cmp.Or(r.call, &called)
		text, err := again.message()
		if err != nil {
			return 0, err
		}
		stateDir, err := env.stateDir(r.stateDir)
		if err != nil {
			return 0, err
		}
		return oci.Reexec(ctx, oci.ReexecConfig{
			Args: os.Args[:1], Env: env.environ, Message: text,
			Stdin: os.Stdin, Stdout: cmp.Or(r.stdout, os.Stdout), Stderr: cmp.Or(r.stderr, os.Stderr),
			Isolation: r.isolation, StateDir: stateDir,
		})
	}
	return run(ctx, called.args, os.Stdout, os.Stderr, env)
}

// columns returns the width of a terminal, 0 if the file is none.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// lookupUser returns the account with that name or number.
func lookupUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if byID, idErr := user.LookupId(name); idErr == nil {
			return byID, nil
		}
	}
	return u, err
}
