// SPDX-License-Identifier: Apache-2.0

// Package oci creates and runs containers for a build, with or without root, and keeps their file
// systems as layers.
//
// # Where containers can be created
//
// A process becomes able to create containers by starting itself again: Reexec runs the same
// program with the same arguments in new namespaces, where it has uid 0, sees only its own
// processes and can mount without affecting the host. An ordinary user gets a user namespace with
// the subordinate IDs of /etc/subuid and /etc/subgid; root needs none. All processes and mounts
// created there end with that process, and it ends with the process that started it, even if that
// is killed with SIGKILL. A program that uses this package therefore begins like this:
//
//	func main() {
//		if oci.Init() {
//			return // this process was a helper and has done its work
//		}
//		if !oci.Inside() {
//			status, err := oci.Reexec(ctx, oci.ReexecConfig{Args: os.Args, Env: os.Environ(), ...})
//			...
//		}
//		engine, err := oci.Open(ctx, oci.EngineOptions{...})
//		...
//	}
//
// Probing finds out what a host lacks; a HostError reports the cause and a fix. Where root may not
// create any namespace, as in a container with Docker's default settings, the isolation "chroot" is
// used: a Container works there as well, as far as chroot(2) and copies can replace namespaces and
// mounts (package internal/run).
//
// # Containers
//
// An Engine holds a store of layers (native overlay where it works, full copies by the driver "vfs"
// elsewhere). A Container is a writable layer, mounted at Root. Snapshot freezes that layer in
// place, as a named image, and continues in a new layer on top of it; From creates a container from
// such an image.
//
// Container.Run runs a program with the container as its root directory and its own pid, mount, ipc
// and uts namespaces. The types are those of the OCI runtime specification, but the runner is our
// own: pid 1 is this program again, and neither runc nor crun is needed. A command costs about 15
// ms instead of 150 ms.
//
// Programs for another architecture run under an emulator set by Emulate. It is registered in
// binfmt_misc for each run, in a user namespace inside ours, so that nothing is registered on the
// host. That needs Linux 6.7.
//
// Pid 1 of a container can respond to system calls of its programs (seccomp_unotify(2), package
// supervise). If only one ID is mapped, which is the isolation "single", it handles the calls that
// read or change owners: the owner that a file should have is stored in an extended attribute, and
// programs see and change that owner as if it were real. contrib/design/owners.md has the details.
// For 32-bit programs under an emulator, pid 1 reads directories: the directory offsets that ext4
// returns to an emulator do not fit into 32 bits.
//
// # What is not supported
//
// Containers share the host's network. There are no cgroups and no terminal inside, and seccomp is
// not used for protection. Of specs.Process the fields Args, Env, Cwd and User are supported, the
// others are rejected. The isolation protects the host from accidents, not from an attacker: for
// root there is no user namespace in between. Kernel 5.12 or later is needed. A container supports
// one Run at a time.
package oci
