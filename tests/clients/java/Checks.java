/** One line per check: `ok NAME what`, or `FAIL NAME what: error`. */
abstract class Checks {
    interface Check {
        void run() throws Exception;
    }

    final String name;
    boolean failed;

    Checks(String name) {
        this.name = name;
    }

    /** Left out if the first word is in $WITHOUT: the broker is known not to serve that yet (see ../README.md). */
    void check(String what, Check check) {
        String without = System.getenv().getOrDefault("WITHOUT", "");
        if (java.util.Arrays.asList(without.split(" ")).contains(what.split("[: ]")[0])) {
            System.out.println("later " + name + " " + what);
            return;
        }
        try {
            check.run();
            System.out.println("ok " + name + " " + what);
        } catch (Throwable error) {
            failed = true;
            System.out.println("FAIL " + name + " " + what + ": " + error);
        }
    }

    static void expect(boolean condition, String message) {
        if (!condition) throw new AssertionError(message);
    }

    static String value(String label, int number) {
        return label + " " + number + " " + String.join("", java.util.Collections.nCopies(100, "x"));
    }
}
