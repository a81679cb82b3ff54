/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kexec.c - in the test guest: have the running kernel replaced by another one
 *
 *   kexec KERNEL INITRAMFS CMDLINE      load it
 *   kexec -p KERNEL INITRAMFS CMDLINE   load it for when this kernel crashes
 *   kexec -e                            start what was loaded, at once
 *
 * Debian's kexec-tools would bring Xen's libraries along.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static int load(char *const argv[], unsigned long flags)
{
	int kernel = open(argv[0], O_RDONLY | O_CLOEXEC);
	int initramfs = open(argv[1], O_RDONLY | O_CLOEXEC);

	if (kernel < 0 || initramfs < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initramfs, strlen(argv[2]) + 1, argv[2], flags)) {
		perror("kexec");
		return 1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 2 && !strcmp(argv[1], "-e")) {
		reboot(RB_KEXEC);
		perror("kexec");
		return 1;
	}
	if (argc == 5 && !strcmp(argv[1], "-p"))
		return load(argv + 2, KEXEC_FILE_ON_CRASH);
	if (argc == 4)
		return load(argv + 1, 0);
	fputs("usage: kexec [-p] KERNEL INITRAMFS CMDLINE | kexec -e\n", stderr);
	return 2;
}
