import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's command line tools one after the other in this one process, since each start of a JVM takes seconds.
 *
 * Called as: ToolServer NAME=CLASS... A line on standard input is FILE, NAME and the tool's arguments, with tabs between them; all
 * that the tool prints goes to FILE, and the answer is a line with its exit status. Ends with standard input.
 */
public class ToolServer {
    /** Unwinds a tool that ends its process. */
    static class Ended extends Error {
        Ended() {
            super("", null, false, false);
        }

        /** Many tools print what they catch. */
        @Override
        public void printStackTrace(PrintStream to) {}

        @Override
        public void printStackTrace(PrintWriter to) {}
    }

    static volatile OutputStream target;
    static Integer status;

    public static void main(String[] args) throws Exception {
        Map<String, String> classes = new HashMap<>();
        for (String arg : args) classes.put(arg.split("=")[0], arg.split("=")[1]);
        PrintStream answers = System.out;
        // Scala's println keeps the first stream that it sees: so the stream stays, and its target changes.
        PrintStream shared = new PrintStream(new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                target.write(b);
            }

            @Override
            public void write(byte[] bytes, int from, int count) throws IOException {
                target.write(bytes, from, count);
            }

            @Override
            public void flush() throws IOException {
                target.flush();
            }
        }, true);
        System.setOut(shared);
        System.setErr(shared);
        Exit.Procedure end = (code, message) -> {
            // A tool may catch what unwinds it, and end again: the first time is meant.
            if (status == null) status = code;
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split("\t");
            int ended;
            try (OutputStream file = new BufferedOutputStream(new FileOutputStream(words[0]))) {
                target = file;
                ended = run(classes.get(words[1]), Arrays.copyOfRange(words, 2, words.length));
                shared.flush();
            }
            answers.println(ended);
            answers.flush();
        }
    }

    static int run(String tool, String[] args) {
        status = null;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (Throwable error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            if (!(cause instanceof Ended)) {
                cause.printStackTrace();
                if (status == null) status = 1;
            }
        }
        return status == null ? 0 : status;
    }
}
