// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// programs are the programs that the test binary contains: "program NAME ARGUMENT...". Their status
// is 1 on an error.
var programs = map[string]func(args []string) error{
	// cat [FILE] copies a file, or standard input.
	"cat": func(args []string) error {
		in := os.Stdin
		if len(args) > 0 {
			var err error
			if in, err = os.Open(args[0]); err != nil {
				return err
			}
		}
		_, err := io.Copy(os.Stdout, in)
		return err
	},
	// exit STATUS
	"exit": func(args []string) error {
		var status int
		if _, err := fmt.Sscan(args[0], &status); err != nil {
			return err
		}
		os.Exit(status)
		return nil
	},
	// kill SIGNAL sends a signal to itself.
	"kill": func(args []string) error {
		signal.Reset()
		return errors.Join(unix.Kill(os.Getpid(), unix.SignalNum(args[0])), wait())
	},
	// change-devices names those of the given devices whose mode, owner or time it can change. It must change them back.
	"change-devices": func(args []string) error {
		for _, name := range args {
			var st unix.Stat_t
			if err := unix.Stat(name, &st); errors.Is(err, unix.ENOENT) {
				continue // not every kernel has it
			} else if err != nil {
				return err
			}
			times := []unix.Timespec{{Sec: 1}, {Sec: 1}}
			if unix.UtimesNanoAt(unix.AT_FDCWD, name, times, 0) == nil || unix.Chown(name, 1, 1) == nil ||
				unix.Chmod(name, 0o600) == nil {
				fmt.Println(name)
				if err := errors.Join(unix.Chown(name, int(st.Uid), int(st.Gid)), unix.Chmod(name, st.Mode&0o7777)); err != nil {
					return err
				}
			}
		}
		return nil
	},
	// look describes what a program sees inside, one fact per line.
	"look": func([]string) error { return look(os.Stdout) },
	// list FILE... prints the contents of files and directories.
	"list": func(args []string) error {
		for _, name := range args {
			info, err := os.Stat(name)
			switch {
			case err != nil:
				fmt.Println(name, "is missing")
			case info.IsDir():
				entries, err := os.ReadDir(name)
				if err != nil {
					return err
				}
				for _, e := range entries {
					fmt.Println(filepath.Join(name, e.Name()))
				}
			default:
				data, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				fmt.Printf("%s: %s", name, data)
			}
		}
		return nil
	},
	// write FILE TEXT
	"write": func(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o666) },
	// link TEXT NAME replaces a file with a symbolic link.
	"link": func(args []string) error {
		return errors.Join(os.Remove(args[1]), os.Symlink(args[0], args[1]))
	},
	// wait waits until it is killed; on SIGTERM it prints a line and continues.
	"wait": func([]string) error {
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGTERM)
		fmt.Println("ready")
		<-c
		fmt.Println("terminated")
		return wait()
	},
	// daemon leaves a process behind that has none of its files open.
	"daemon": func([]string) error {
		cmd := exec.Command("/bin/program", "wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	},
	// useproc checks /proc and prints what is wrong.
	"useproc": func([]string) error { return useProc() },
	// behind NAME... uses files through links in /proc.
	"behind": useBehind,
	// mountproc mounts a proc of its own, as debootstrap does.
	"mountproc": func([]string) error {
		return errors.Join(os.MkdirAll("/tmp/proc", 0o755), unix.Mount("proc", "/tmp/proc", "proc", 0, ""))
	},
	// chroot DIRECTORY runs look there.
	"chroot": func(args []string) error {
		if err := unix.Chroot(args[0]); err != nil {
			return err
		}
		return errors.Join(os.Chdir("/"), look(os.Stdout))
	},
	"build": build,
	// clone FILE COPY shares the blocks of a file, and says what became of that.
	"clone": clone,
	// owners and ordinary change owners of files, groups creates a file. show DIRECTORY prints
	// owners.
	"owners": changeOwners, "ordinary": ordinary, "groups": groups, "setpriv": setpriv,
	"show": func(args []string) error {
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
		return filepath.WalkDir(".",
			func(name string, _ os.DirEntry, err error) error { return errors.Join(err, printOwner(name)) })
	},
	"emulate": emulate,
	// contained is a build, and containment its program, see containment_test.go. undo is a part of
	// it, which also runs in a user namespace of its own.
	"contained": contained, "containment": containment, "sharing": sharing,
	"undo": func([]string) error {
		fmt.Print(strings.Join(undo(), "\n"))
		return nil
	},
	// offsets DIR prints a directory's entries as the kernel returns them: the name, and whether
	// its offset fits into 31 bits.
	"offsets": offsets,
	// exec FILE... executes a program with arguments.
	"exec": func(args []string) error { return unix.Exec(args[0], args, os.Environ()) },
	// leftovers STATEDIR counts the sessions and layers of a store.
	"leftovers": func(args []string) error {
		goInside()
		e, err := Open(context.Background(), EngineOptions{Place: here, StateDir: args[0]})
		if err != nil {
			return err
		}
		sessions, err := os.ReadDir(filepath.Join(args[0], "sessions"))
		if err != nil {
			return err
		}
		layers, err := e.store.Layers()
		if err != nil {
			return err
		}
		fmt.Printf("sessions %d\nlayers %d\n", len(sessions), len(layers))
		return e.Close()
	},
	// remove DIRECTORY
	"remove": func(args []string) error {
		goInside()
		return os.RemoveAll(args[0])
	},
	"inside": func([]string) error {
		_, err := fmt.Println(here.Inside())
		return err
	},
	// umask prints the umask inside.
	"umask": func([]string) error {
		goInside()
		mask := unix.Umask(0)
		_, err := fmt.Printf("%03o\n", mask)
		return err
	},
	// why prints the isolation, and the reason why it is not another one.
	"why": func([]string) error {
		goInside()
		_, err := fmt.Println(here.Isolation, here.Why)
		return err
	},
	// host [ISOLATION] prints what the host lacks.
	"host": lacks,
	// weakhost does the same as root without CAP_SYS_ADMIN.
	"weakhost": func([]string) error {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		return lacks([]string{string(host.IsolationRoot)})
	},
	// listened STATEDIR prints what the host lacks according to a probe and a build if another
	// process responds to system calls.
	"listened": func(args []string) error {
		if !here.Inside() {
			runtime.LockOSThread()
			if err := supervise.TryListen(); err != nil {
				return err
			}
			report, err := host.Probe(context.Background(), args[0])
			if err != nil {
				return err
			}
			var lack *host.Error
			for _, candidate := range report.Candidates {
				if candidate.Isolation == host.IsolationUserNS && !errors.As(candidate.Err, &lack) {
					return fmt.Errorf("the probe finds %w", candidate.Err)
				}
			}
			fmt.Println(lack.Cause)
		}
		goInside()
		ctx := context.Background()
		e, c, err := openScratch(ctx, args[0])
		if err != nil {
			return err
		}
		var lack *host.Error
		if err := c.Run(ctx, newProcess("exit", "0"), nil, nil, nil); !errors.As(err, &lack) {
			return fmt.Errorf("the build finds %w", err)
		}
		fmt.Println(lack.Cause)
		return e.Close()
	},
	// interrupted runs itself inside and prints the signals that it receives there.
	"interrupted": func([]string) error {
		goInside()
		c := make(chan os.Signal, 8)
		signal.Notify(c)
		fmt.Println("ready")
		for s := range c {
			if s != unix.SIGURG { // sent by the Go runtime
				fmt.Println(unix.SignalName(s.(syscall.Signal)))
			}
			if s == unix.SIGHUP {
				os.Exit(42)
			}
		}
		return nil
	},
}

// program runs one of the programs and reports whether this process was one.
func program() bool {
	if strings.HasPrefix(os.Args[0], "/proc/self/fd/") {
		emulated()
		return true
	}
	if filepath.Base(os.Args[0]) != "program" {
		return false
	}
	if err := programs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return true
}

// emulated is the test binary's function as an emulator: it prints what it was told to run, and
// waits if "wait" is an argument.
func emulated() {
	fmt.Println("emulating", strings.Join(os.Args[1:], " "))
	if os.Args[len(os.Args)-1] == "wait" {
		_ = wait()
	}
}

// wait never ends.
func wait() error {
	for {
		if err := unix.Pause(); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func look(w io.Writer) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	umask := unix.Umask(0)
	unix.Umask(umask)
	sid, err := unix.Getsid(0)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "hostname %s\ncwd %s\nids %d:%d %v\numask %03o\nparent %d\n", hostname, cwd, os.Getuid(),
		os.Getgid(), groups, umask, os.Getppid())
	fmt.Fprintf(w, "session of pid 1 %v\nenv %s\n", sid == 1, strings.Join(os.Environ(), " "))
	for _, name := range []string{"/dev/null", "/dev/tty", "/dev/ptmx", "/dev/fd", "/dev/pts", "/dev/shm", "/dev/mem",
		"/dev/kmsg", "/proc/self", "/sys/kernel", "/run/lock"} {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintln(w, name, "is missing")
			continue
		}
		fmt.Fprintln(w, name, info.Mode())
	}
	if f, err := os.OpenFile("/dev/null", os.O_WRONLY, 0); err != nil {
		fmt.Fprintln(w, err)
	} else {
		f.Close()
	}
	for _, name := range []string{"/proc/sys/kernel/hostname", "/sys/kernel/new"} {
		if err := os.WriteFile(name, []byte("x"), 0o644); !errors.Is(err, unix.EROFS) {
			fmt.Fprintf(w, "%s can be written: %v\n", name, err)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d processes\n", len(processes))
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if strings.Contains(string(mounts), " /etc/") {
		fmt.Fprintf(w, "something is mounted in /etc: %s", mounts)
	}
	return nil
}

func lacks(args []string) error {
	cfg := host.ReexecConfig{Args: []string{"program", "cat"}}
	if len(args) > 0 {
		cfg.Isolation = host.Isolation(args[0])
	}
	_, err := host.Reexec(context.Background(), cfg)
	var lack *host.Error
	if errors.As(err, &lack) {
		fmt.Printf("%s\n%s\n", lack.Cause, lack.Fix)
		return nil
	}
	return err
}

// openScratch opens the store of a state directory, and makes a container in it.
func openScratch(ctx context.Context, stateDir string) (*Engine, *Container, error) {
	e, err := Open(ctx, EngineOptions{Place: here, StateDir: stateDir})
	if err != nil {
		return nil, nil, err
	}
	c, err := newScratch(ctx, e)
	return e, c, err
}

// goInside continues inside: on the host, it does not return.
func goInside() {
	if here.Inside() {
		return
	}
	status, err := host.Reexec(context.Background(), host.ReexecConfig{
		Args: os.Args, Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
		Isolation: host.Isolation(os.Getenv(envOnly)),
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
	os.Exit(status)
}

// build STATEDIR is a whole build that never ends: it runs itself inside, writes a snapshot, and
// starts a program that waits in a container. It prints what it is doing.
func build(args []string) error {
	ctx := context.Background()
	say := func(text string) { fmt.Println(text) }
	if !here.Inside() {
		say("begin")
	}
	goInside()
	say("inside")
	e, err := Open(ctx, EngineOptions{Place: here, StateDir: args[0]})
	if err != nil {
		return err
	}
	say("open")
	c, err := newScratch(ctx, e)
	if err != nil {
		return err
	}
	say("container")
	if err := c.Snapshot(ctx, "snapshot", nil); err != nil {
		return err
	}
	say("snapshot")
	p := newProcess("wait")
	p.Env = append(p.Env, os.Environ()...)
	return c.Run(ctx, p, nil, nil, os.Stdout)
}

// newScratch returns a container with the test binary as /bin/program, and nothing else.
func newScratch(ctx context.Context, e *Engine) (*Container, error) {
	c, err := e.Scratch(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.MkdirAll("/bin", 0o755), c.WriteFile("/bin/program", self, 0o755))
}

func scratch(t *testing.T, e *Engine) *Container {
	t.Helper()
	c, err := newScratch(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
